// Rows of small integers, each predicted from its row so far, from neighboring rows and its class.
#include "coefficients.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "mixing.hpp"

namespace fieldwright::ISA {
namespace {

// A magnitude is a sequence of decisions: > 0, > 1, > 2, then the exponent of m - 2 in unary
// (bins 3..23), then its mantissa; the sign follows.
constexpr int kBins = 24;
constexpr int kExponentBin = 3;
constexpr int kMaxExponent = kBins - kExponentBin;
constexpr int kMantissaNodes = 8;  // the first three mantissa bits are modeled, the rest are not
constexpr int kLevels = 12;        // of an activity, see `level`
constexpr int kSigned = 2 * kLevels - 1;
constexpr int kCap = 15;           // larger magnitudes count as this in contexts
constexpr int32_t kFirstWeight = 13000;

// 0, 1, 2, 3, 4, 5-6, 7-8, 9-12, 13-16, 17-24, 25-32, 33...; a table, as branches on what is being
// decoded are mispredicted.
constexpr int kTopActivity = 33;
constexpr uint8_t kLevelOf[kTopActivity + 1] = {0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 7, 7,
                                                7, 8, 8, 8, 8, 9, 9, 9, 9, 9, 9, 9,
                                                9, 10, 10, 10, 10, 10, 10, 10, 10, 11};
inline int level(int32_t activity) { return kLevelOf[std::min(activity, kTopActivity)]; }

inline int sign3(int32_t value) { return (value > 0) - (value < 0) + 1; }

struct Encoding {
  RangeEncoder coder;
  int code(int32_t probability, int bit) {
    coder.code(probability, bit);
    return bit;
  }
};

struct Decoding {
  RangeDecoder coder;
  int code(int32_t probability, int) { return coder.decode(probability); }
};

class Model {
 public:
  Model(const CoefficientRows& rows, const CoefficientTables& tables)
      : rows_(rows), tables_(tables), sums_(rows.dims), totals_(rows.dims) {
    const int dims = rows.dims;
    const int sizes[] = {dims,
                         dims * kLevels,
                         dims * kLevels,
                         dims * 25,
                         kLevels * kLevels * kLevels,
                         dims * kLevels * kLevels,
                         kLevels * kLevels * kLevels};
    const int sign_sizes[] = {dims,     dims * kSigned, dims * 9, dims * 9, kSigned * kLevels,
                              dims * 9, dims * 27};
    for (int i = 0; i < kInputs - 1; ++i) {
      magnitudes_[i].resize(static_cast<size_t>(sizes[i]) * kBins);
      signs_[i].resize(static_cast<size_t>(sign_sizes[i]));
    }
    mantissas_.resize(static_cast<size_t>(dims) * (kMaxExponent + 1) * kMantissaNodes);
    Weights first{};
    for (int i = 0; i < kInputs - 1; ++i) first.value[i] = kFirstWeight;
    weights_.assign(kBins, first);
    sign_weights_ = first;
  }

  // Sums what the row's neighbors hold in each dimension.
  void begin_row(long row, const int32_t* values) {
    const int dims = rows_.dims;
    row_ = values + row * dims;
    std::fill(sums_.begin(), sums_.end(), 0);
    std::fill(totals_.begin(), totals_.end(), 0);
    for (int k = 0; k < kNeighbors; ++k) {
      const long other = rows_.neighbors ? rows_.neighbors[kNeighbors * row + k] : row - 1 - k;
      if (other < 0) break;
      const int32_t* beside = values + other * dims;
      for (int j = 0; j < dims; ++j) {
        const int32_t held = std::clamp(beside[j], -kCap, kCap);
        sums_[j] += held;
        totals_[j] += std::abs(held);
      }
    }
    so_far_ = ahead_ = 0;
    for (int j = 0; j < dims; ++j) ahead_ += totals_[j];
  }

  // The contexts of the magnitude in dimension `dim`, all of them known to both sides.
  void begin(int dim) {
    dim_ = dim;
    const int one = dim > 0 ? std::abs(row_[dim - 1]) : 0;
    const int two = dim > 1 ? std::abs(row_[dim - 2]) : 0;
    const int near = level(2 * std::min(one, kCap) + std::min(two, kCap));
    const int beside = level(totals_[dim]), expected = level(std::abs(sums_[dim]));
    const int all = level(so_far_), around = level(ahead_ / 4);
    const int contexts[] = {dim,
                            dim * kLevels + all,
                            dim * kLevels + beside,
                            dim * 25 + std::min(one, 4) * 5 + std::min(two, 4),
                            (near * kLevels + all) * kLevels + around,
                            (dim * kLevels + expected) * kLevels + near,
                            (beside * kLevels + expected) * kLevels + all};
    for (int i = 0; i < kInputs - 1; ++i)
      at_[i] = &magnitudes_[i][static_cast<size_t>(contexts[i]) * kBins];
  }

  template <class Coder>
  int32_t magnitude(Coder& coder, int32_t m) {
    for (int bin = 0; bin < kExponentBin; ++bin)
      if (!decide(coder, bin, m > bin)) return bin;
    const uint32_t rest = static_cast<uint32_t>(m - 2);
    const int wanted = m > 2 ? 31 - __builtin_clz(rest) : 0;
    int exponent = 0;
    while (exponent < kMaxExponent && decide(coder, kExponentBin + exponent, wanted > exponent))
      ++exponent;
    uint32_t value = 1;
    Slot* nodes = &mantissas_[(dim_ * (kMaxExponent + 1) + exponent) * kMantissaNodes];
    for (int i = exponent - 1; i >= 0; --i) {
      const int bit = rest >> i & 1;
      if (value >= kMantissaNodes) {
        value = value << 1 | coder.code(1 << 15, bit);
        continue;
      }
      Slot& node = nodes[value];
      const int got = coder.code(std::clamp<int32_t>(node.state >> 16, 32, 65504), bit);
      node.update(tables_, got);
      value = value << 1 | got;
    }
    return static_cast<int32_t>(value) + 2;
  }

  template <class Coder>
  bool negative(Coder& coder, bool wanted, int32_t m) {
    const int sum = sums_[dim_];
    const int size = level(std::abs(sum));
    const int expected = kLevels - 1 + (sum < 0 ? -size : size);
    const auto earlier = [&](int back) { return dim_ >= back ? sign3(row_[dim_ - back]) : 1; };
    const auto leading = [&](int j) { return dim_ > j ? sign3(row_[j]) : 1; };
    const int contexts[] = {dim_,
                            dim_ * kSigned + expected,
                            dim_ * 9 + leading(0) * 3 + leading(1),
                            dim_ * 9 + earlier(1) * 3 + earlier(2),
                            expected * kLevels + level(totals_[dim_]),
                            dim_ * 9 + leading(2) * 3 + leading(3),
                            dim_ * 27 + sign3(sum) * 9 + leading(0) * 3 + std::min(m, 3) - 1};
    Decision decision;
    for (int i = 0; i < kInputs - 1; ++i) decision.slots[i] = &signs_[i][contexts[i]];
    decision.weights = &sign_weights_;
    decision.predict(tables_);
    const int bit = coder.code(decision.probability, wanted);
    decision.update(tables_, bit);
    return bit;
  }

  void end(int32_t value) { so_far_ += std::min(std::abs(value), kCap); }

  // Bits / 2^12 of magnitude m here, its sign counted as one bit.
  int64_t cost(int32_t m) {
    int64_t total = m > 0 ? 1 << 12 : 0;
    for (int bin = 0; bin < kExponentBin; ++bin) {
      total += predicted(bin).cost(tables_, m > bin);
      if (m <= bin) return total;
    }
    const int wanted = 31 - __builtin_clz(static_cast<uint32_t>(m - 2));
    for (int exponent = 0; exponent <= wanted && exponent < kMaxExponent; ++exponent)
      total += predicted(kExponentBin + exponent).cost(tables_, wanted > exponent);
    return total + (static_cast<int64_t>(wanted) << 12);
  }

 private:
  Decision predicted(int bin) {
    Decision decision;
    for (int i = 0; i < kInputs - 1; ++i) decision.slots[i] = at_[i] + bin;
    decision.weights = &weights_[bin];
    decision.predict(tables_);
    return decision;
  }

  template <class Coder>
  int decide(Coder& coder, int bin, int wanted) {
    Decision decision = predicted(bin);
    const int bit = coder.code(decision.probability, wanted);
    decision.update(tables_, bit);
    return bit;
  }

  CoefficientRows rows_;
  CoefficientTables tables_;
  std::vector<Slot> magnitudes_[kInputs - 1], signs_[kInputs - 1], mantissas_;
  std::vector<Weights> weights_;  // of magnitudes, by bin
  Weights sign_weights_;
  std::vector<int32_t> sums_, totals_;  // over the neighbors, by dimension
  Slot* at_[kInputs - 1];
  const int32_t* row_;
  int32_t so_far_, ahead_;  // magnitudes of this row so far, and of all its neighbors
  int dim_;
};

// The integer of least distortion plus `trade` times its bits, among the nearest and smaller ones.
int32_t rounded(Model& model, const Rounding& rounding, int dim, float scaled) {
  const double x = std::abs(static_cast<double>(scaled));
  const float* centroids = rounding.centroids + 3 * dim;
  const auto centroid = [&](int32_t m) {
    return m == 0 ? 0.0 : m < 3 ? centroids[m - 1] : centroids[2] + (m - 3.0);
  };
  const int32_t nearest =
      static_cast<int32_t>(std::min<double>(std::floor(x + 0.5), kMaxMagnitude));
  int32_t best = 0;
  double least = 1e300;
  for (int32_t m = std::max(0, nearest - 2); m <= nearest && nearest > 0; ++m) {
    const double away = x - centroid(m);
    const double price = away * away + rounding.trade * static_cast<double>(model.cost(m)) / 4096;
    if (price < least) best = m, least = price;
  }
  return std::signbit(scaled) ? -best : best;
}

}  // namespace

void encode_coefficients(const CoefficientRows& rows, const CoefficientTables& tables,
                         const Rounding* rounding, int32_t* values,
                         std::vector<uint32_t>& words) {
  Model model(rows, tables);
  Encoding coder{RangeEncoder(words)};
  for (long i = 0; i < rows.rows; ++i) {
    model.begin_row(i, values);
    for (int j = 0; j < rows.dims; ++j) {
      int32_t& value = values[i * rows.dims + j];
      model.begin(j);
      if (rounding) value = rounded(model, *rounding, j, rounding->scaled[i * rows.dims + j]);
      const int32_t m = model.magnitude(coder, std::abs(value));
      if (m > 0) model.negative(coder, value < 0, m);
      model.end(value);
    }
  }
  coder.coder.finish();
}

void decode_coefficients(const CoefficientRows& rows, const CoefficientTables& tables,
                         const uint8_t* data, long size, int32_t* values, bool& valid) {
  Model model(rows, tables);
  Decoding coder{RangeDecoder(data, static_cast<size_t>(size))};
  valid = true;
  for (long i = 0; i < rows.rows && valid; ++i) {
    model.begin_row(i, values);
    for (int j = 0; j < rows.dims; ++j) {
      model.begin(j);
      const int32_t m = model.magnitude(coder, 0);
      valid &= m <= kMaxMagnitude;
      values[i * rows.dims + j] = m > 0 && model.negative(coder, false, m) ? -m : m;
      model.end(m);
    }
    // More than eight words past the end: nothing an encoder wrote.
    valid &= coder.coder.position() <= static_cast<size_t>(size) + 32;
  }
}

}  // namespace fieldwright::ISA
