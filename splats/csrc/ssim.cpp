// One tile of the fused L1 + SSIM loss. Rows of interleaved RGB are treated as rows of
// 3 * width floats: vertical taps lie one row apart, horizontal taps three floats apart.
//
// With blurred moments mu = E[x], nu = E[y], s = E[x^2 + y^2], c = E[x y] of the 11x11 window,
//   SSIM = A1 A2 / (B1 B2),  A1 = 2 mu nu + C1,  A2 = 2 (c - mu nu) + C2,
//                            B1 = mu^2 + nu^2 + C1,  B2 = s - mu^2 - nu^2 + C2,
// so that only the sum of the two variances is needed: four blurs forward. The window is
// symmetric, so the gradient blurs the three derivative maps with the same window:
//   dSSIM/dx = blur(dS/dmu) + 2 x blur(dS/ds) + y blur(dS/dc).
#include "ssim.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "simd.hpp"

namespace fieldwright::ISA {
namespace {

constexpr int kTaps = 11, kRadius = kTaps / 2, kChannels = 3;
constexpr int kRim = 2 * kRadius;  // pixels around a tile that its gradient depends on
constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;
// exp(-d^2 / (2 * 1.5^2)) for d = -5..5, divided by its sum.
constexpr float kWindow[kTaps] = {0.00102838008f, 0.00759875814f, 0.0360007721f, 0.10936069f,
                                  0.213005538f, 0.266011725f, 0.213005538f, 0.10936069f,
                                  0.0360007721f, 0.00759875814f, 0.00102838008f};
// Rows blurred together: as many accumulators as the register file holds.
constexpr int kGroup = kLanes == 16 ? 4 : 2;
constexpr int kRing = 16;  // derivative rows kept; a group of gradient rows spans at most 16
static_assert(kTaps + 2 * kGroup - 3 <= kRing, "derivative rows must outlive their readers");

enum Moment { kMu, kNu, kSquares, kProduct, kMoments };
enum Derivative { kByMu, kBySquares, kByProduct, kDerivatives };

// Scratch of one thread, kept between calls.
class Scratch {
 public:
  float* reserve(size_t floats) {
    if (floats > size_) {
      const size_t bytes = (floats * sizeof(float) + 63) / 64 * 64;
      data_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
      if (!data_) throw std::bad_alloc();
      size_ = floats;
    }
    std::fill_n(data_.get(), floats, 0.0f);
    return data_.get();
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> data_;
  size_t size_ = 0;
};

// The value at `center + 3 * tap` for tap = -5..5, summed with the window.
inline vf blur_row(const float* center) {
  vf total = splat(kWindow[kRadius]) * load(center);
#pragma GCC unroll 5
  for (int tap = 1; tap <= kRadius; ++tap) {
    const vf pair = load(center - kChannels * tap) + load(center + kChannels * tap);
    total = fma(splat(kWindow[kRadius + tap]), pair, total);
  }
  return total;
}

class Tile {
 public:
  Tile(const LossProblem& problem, int tile);
  void run(LossSums& sums);

 private:
  // Scratch rows start at pixel column0 - kRim of row row0 - kRim.
  float* image_row(int row) { return image_ + (row - row0_ + kRim) * stride_; }
  float* target_row(int row) { return target_ + (row - row0_ + kRim) * stride_; }
  float* derivative_row(int row, int which) {
    return derivatives_ + (((row - row0_ + kRadius) % kRing) * kDerivatives + which) * stride_;
  }
  bool in_image(int row) const { return row >= 0 && row < problem_.height; }

  void load_rows();
  const float* weights(int row);
  void blur_moments(int row);
  void differentiate(int row, int offset, LossSums& sums);
  void write_gradient(int row, LossSums& sums);

  const LossProblem& problem_;
  int row0_, row1_, column0_, column1_;
  long stride_, length_;
  float *image_, *target_, *derivatives_, *moments_, *inside_, *masked_, *owned_, *output_;
};

Tile::Tile(const LossProblem& problem, int tile) : problem_(problem) {
  const TileGrid grid(problem.height, problem.width);
  const int i = tile / grid.columns, j = tile % grid.columns;
  row0_ = static_cast<int>(static_cast<long>(problem.height) * i / grid.rows);
  row1_ = static_cast<int>(static_cast<long>(problem.height) * (i + 1) / grid.rows);
  column0_ = static_cast<int>(static_cast<long>(problem.width) * j / grid.columns);
  column1_ = static_cast<int>(static_cast<long>(problem.width) * (j + 1) / grid.columns);
  const long span = (column1_ - column0_ + 2 * kRim) * kChannels;
  length_ = (span + kLanes - 1) / kLanes * kLanes;
  stride_ = length_ + 16;  // zeros between rows: horizontal taps reach 15 floats beyond an end
  const long rows = row1_ - row0_ + 2 * kRim + 2 * kGroup;

  static thread_local Scratch scratch;
  float* next = scratch.reserve(
      16 + stride_ * (2 * rows + kDerivatives * kRing + kMoments * kGroup + 4));
  next += 16;
  const auto take = [&](long count) {
    float* block = next;
    next += count * stride_;
    return block;
  };
  image_ = take(rows);
  target_ = take(rows);
  derivatives_ = take(kDerivatives * kRing);
  moments_ = take(kMoments * kGroup);
  inside_ = take(1);
  masked_ = take(1);
  owned_ = take(1);
  output_ = take(1);
  for (long k = 0; k < span; ++k) {
    const long column = column0_ - kRim + k / kChannels;
    inside_[k] = column >= 0 && column < problem.width ? 1.0f : 0.0f;
    owned_[k] = column >= column0_ && column < column1_ ? 1.0f : 0.0f;
  }
}

// Copies the tile with its rim; outside the image both stay zero, and masked pixels of the image
// are replaced by the target.
void Tile::load_rows() {
  const int first = std::max(column0_ - kRim, 0);
  const int last = std::min(column1_ + kRim, problem_.width);
  for (int row = std::max(row0_ - kRim, 0); row < std::min(row1_ + kRim, problem_.height); ++row) {
    const long source = (static_cast<long>(row) * problem_.width + first) * kChannels;
    const long offset = (first - column0_ + kRim) * kChannels;
    const long bytes = (last - first) * kChannels * sizeof(float);
    std::memcpy(image_row(row) + offset, problem_.image + source, bytes);
    std::memcpy(target_row(row) + offset, problem_.target + source, bytes);
    if (!problem_.mask) continue;
    const float* weight = weights(row);
    for (long k = 0; k < length_; ++k)
      if (weight[k] == 0) image_row(row)[k] = target_row(row)[k];
  }
}

// 1 for every value of `row` that counts, 0 elsewhere and outside the image.
const float* Tile::weights(int row) {
  if (!problem_.mask) return inside_;
  const int first = std::max(column0_ - kRim, 0);
  const int last = std::min(column1_ + kRim, problem_.width);
  const uint8_t* mask = problem_.mask + static_cast<long>(row) * problem_.width;
  for (int column = first; column < last; ++column)
    for (int channel = 0; channel < kChannels; ++channel)
      masked_[(column - column0_ + kRim) * kChannels + channel] = mask[column] ? 1.0f : 0.0f;
  return masked_;
}

// Vertical blur of the four moments for rows [row, row + kGroup).
void Tile::blur_moments(int row) {
  const float* image = image_row(row - kRadius);
  const float* target = target_row(row - kRadius);
  for (long k = 0; k < length_; k += kLanes) {
    vf sums[kGroup][kMoments] = {};
#pragma GCC unroll 16
    for (int t = 0; t < kTaps + kGroup - 1; ++t) {
      const vf x = load(image + t * stride_ + k), y = load(target + t * stride_ + k);
      const vf squares = fma(x, x, y * y), product = x * y;
#pragma GCC unroll 4
      for (int j = 0; j < kGroup; ++j) {
        if (t - j < 0 || t - j >= kTaps) continue;
        const vf w = splat(kWindow[t - j]);
        sums[j][kMu] = fma(w, x, sums[j][kMu]);
        sums[j][kNu] = fma(w, y, sums[j][kNu]);
        sums[j][kSquares] = fma(w, squares, sums[j][kSquares]);
        sums[j][kProduct] = fma(w, product, sums[j][kProduct]);
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < kGroup; ++j)
#pragma GCC unroll 4
      for (int m = 0; m < kMoments; ++m)
        store(moments_ + (j * kMoments + m) * stride_ + k, sums[j][m]);
  }
}

// Horizontal blur of one row of moments, then SSIM and its derivatives there.
void Tile::differentiate(int row, int offset, LossSums& sums) {
  float* by_mu = derivative_row(row, kByMu);
  float* by_squares = derivative_row(row, kBySquares);
  float* by_product = derivative_row(row, kByProduct);
  if (!in_image(row)) {
    std::fill_n(by_mu, length_, 0.0f);
    std::fill_n(by_squares, length_, 0.0f);
    std::fill_n(by_product, length_, 0.0f);
    return;
  }
  const float* moments = moments_ + offset * kMoments * stride_;
  const float* weight = weights(row);
  const vf c1 = splat(kC1), c2 = splat(kC2);
  vf total = splat(0.0f);
  for (long k = 0; k < length_; k += kLanes) {
    const vf mu = blur_row(moments + kMu * stride_ + k);
    const vf nu = blur_row(moments + kNu * stride_ + k);
    const vf squares = blur_row(moments + kSquares * stride_ + k);
    const vf product = blur_row(moments + kProduct * stride_ + k);
    const vf energy = fma(mu, mu, nu * nu), cross = mu * nu;
    const vf a1 = fma(splat(2.0f), cross, c1), b1 = energy + c1;
    const vf a2 = fma(splat(2.0f), product - cross, c2), b2 = squares - energy + c2;
    const vf counts = load(weight + k), q = reciprocal(b1 * b2);
    const vf ssim = a1 * a2 * q * counts;
    total = fma(ssim, load(owned_ + k), total);
    store(by_mu + k, splat(2.0f) * q * (nu * (a2 - a1) * counts - mu * ssim * (b2 - b1)));
    store(by_squares + k, -ssim * b1 * q);
    store(by_product + k, splat(2.0f) * a1 * q * counts);
  }
  if (row >= row0_ && row < row1_) sums.ssim += sum(total);
}

// Blurs the derivatives vertically and horizontally for rows [row, row + kGroup).
void Tile::write_gradient(int row, LossSums& sums) {
  const float* rows[kTaps + kGroup - 1];
  for (int t = 0; t < kTaps + kGroup - 1; ++t) rows[t] = derivative_row(row - kRadius + t, 0);
  for (long k = 0; k < length_; k += kLanes) {
    vf totals[kGroup][kDerivatives] = {};
#pragma GCC unroll 16
    for (int t = 0; t < kTaps + kGroup - 1; ++t) {
      vf value[kDerivatives];
#pragma GCC unroll 3
      for (int d = 0; d < kDerivatives; ++d) value[d] = load(rows[t] + d * stride_ + k);
#pragma GCC unroll 4
      for (int j = 0; j < kGroup; ++j) {
        if (t - j < 0 || t - j >= kTaps) continue;
        const vf w = splat(kWindow[t - j]);
#pragma GCC unroll 3
        for (int d = 0; d < kDerivatives; ++d) totals[j][d] = fma(w, value[d], totals[j][d]);
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < kGroup; ++j)
#pragma GCC unroll 3
      for (int d = 0; d < kDerivatives; ++d)
        store(moments_ + (j * kMoments + d) * stride_ + k, totals[j][d]);
  }
  const vf l1_weight = splat(problem_.l1_weight), ssim_weight = splat(-problem_.ssim_weight);
  for (int j = 0; j < kGroup && row + j < row1_; ++j) {
    const float* blurred = moments_ + j * kMoments * stride_;
    const float *image = image_row(row + j), *target = target_row(row + j);
    const float* weight = weights(row + j);
    vf total = splat(0.0f);
    for (long k = 0; k < length_; k += kLanes) {
      const vf x = load(image + k), y = load(target + k), zero = splat(0.0f);
      const vf change = blur_row(blurred + kByMu * stride_ + k) +
                        splat(2.0f) * x * blur_row(blurred + kBySquares * stride_ + k) +
                        y * blur_row(blurred + kByProduct * stride_ + k);
      const vf difference = x - y;
      const vf slope = zero_unless(gt(difference, zero), l1_weight) -
                       zero_unless(gt(zero, difference), l1_weight);
      total = fma(max(difference, -difference), load(owned_ + k), total);
      store(output_ + k, load(weight + k) * fma(ssim_weight, change, slope));
    }
    sums.absolute += sum(total);
    const long first = (static_cast<long>(row + j) * problem_.width + column0_) * kChannels;
    std::memcpy(problem_.gradient + first, output_ + kRim * kChannels,
                (column1_ - column0_) * kChannels * sizeof(float));
  }
}

void Tile::run(LossSums& sums) {
  load_rows();
  int ready = row0_ - kRadius;  // derivative rows before this one exist
  for (int row = row0_; row < row1_; row += kGroup) {
    for (; ready < row + kGroup + kRadius; ready += kGroup) {
      blur_moments(ready);
      for (int j = 0; j < kGroup; ++j) differentiate(ready + j, j, sums);
    }
    write_gradient(row, sums);
  }
}

}  // namespace

void ssim_tile(const LossProblem& problem, int tile, LossSums& sums) {
  Tile(problem, tile).run(sums);
}

}  // namespace fieldwright::ISA
