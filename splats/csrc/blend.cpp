// Front-to-back compositing of one camera's tiles, and its gradient.
//
// A tile is 8 x 8 pixels. One vector holds whole rows of it (two with AVX-512), so the horizontal
// offset dx of a splat is the same vector for all rows and the quadratic form costs two fused
// multiply-adds per vector. Colour and transmittance of a group of rows stay in registers while
// the tile's list is read once.
//
// The backward pass reads the lists front to back again, in the same arithmetic, so transmittances
// and the stopping decision are reproduced exactly. What lies behind a splat is the pixel's final
// colour minus what has been passed. Each (tile, splat) pair writes its gradient to a slot of its
// own; slots of one splat are neighbours and are added in order. No atomics, no order of arrival:
// the same bits for any number of threads.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "rasterizer.hpp"
#include "rows.hpp"
#include "thread_pool.hpp"

namespace fieldwright::ISA {
namespace {

constexpr int kVectors = kTile * kTile / kLanes;              // vectors of one tile
constexpr int kTilesPerTask = 8;
constexpr float kMinLog2Alpha = -7.99435343685886f;           // log2(1 / 255)
// Vectors whose state fits in registers together: all four of a tile in the 32 of AVX-512.
constexpr int kGroup = kLanes == 16 ? 4 : 2;

// Pixel coordinates of each vector of a tile; with 4 lanes a vector is half a row.
struct TilePixels {
  vf x[kVectors], y[kVectors];
  vf inside[kVectors];  // 1 where the pixel exists and is to be drawn
};

TilePixels pixels_of(const Bins& bins, int tile_x, int tile_y) {
  TilePixels p;
  for (int v = 0; v < kVectors; ++v)
    for (int lane = 0; lane < kLanes; ++lane) {
      const int at = v * kLanes + lane;
      const int x = tile_x * kTile + at % kTile, y = tile_y * kTile + at / kTile;
      const bool draw = x < bins.width && y < bins.height &&
                        (bins.pixel_mask.empty() ||
                         bins.pixel_mask[static_cast<long>(y) * bins.width + x]);
      p.x[v][lane] = x + 0.5f, p.y[v][lane] = y + 0.5f;
      p.inside[v][lane] = draw ? 1.0f : 0.0f;
    }
  return p;
}

// Copies one channel of a tile between an image of `channels` interleaved values and vectors.
template <typename Visit>
inline void for_pixels(const Bins& bins, int tile_x, int tile_y, Visit visit) {
  const int rows = std::min(kTile, bins.height - tile_y * kTile);
  const int columns = std::min(kTile, bins.width - tile_x * kTile);
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < columns; ++column)
      visit(static_cast<long>(tile_y * kTile + row) * bins.width + tile_x * kTile + column,
            row * kTile + column);
}

struct Color {
  float channel[4];
};

// Colours in depth order, so that a tile's list reads them forwards.
std::vector<Color> colors_by_rank(const Bins& bins, const float* colors, int D) {
  std::vector<Color> ordered(bins.num_visible);
  parallel_ranges(static_cast<long>(ordered.size()), 8192, [&](long begin, long end, int) {
    for (long rank = begin; rank < end; ++rank) {
      const float* color = colors + static_cast<long>(bins.splats[rank].index) * D;
      for (int d = 0; d < 4; ++d) ordered[rank].channel[d] = d < D ? color[d] : 0.0f;
    }
  });
  return ordered;
}

// log2(alpha) of one splat at one vector of pixels, given what does not depend on the row.
struct Quadratic {
  vf dx, constant, linear;
  float y, c;
};

inline Quadratic quadratic(const Splat& s, vf x) {
  const vf dx = x - s.x;
  const vf ax = s.a * dx;
  return {dx, fma(ax, dx, splat(s.l)), s.b * dx, s.y, s.c};
}

inline vf log2_alpha(const Quadratic& q, vf dy) {
  return fma(fma(splat(q.c), dy, q.linear), dy, q.constant);
}

// ---------------------------------------------------------------------------------- forward

template <int D>
int blend_group(const Bins& bins, const Color* colors, const TilePixels& pixels, int first,
                uint32_t begin, uint32_t end, float (&out)[5][kTile * kTile]) {
  vf T[kGroup], C[kGroup][D];
  mask alive[kGroup];
  for (int g = 0; g < kGroup; ++g) {
    alive[g] = gt(pixels.inside[first + g], splat(0.5f));
    T[g] = splat(1.0f);
    for (int d = 0; d < D; ++d) C[g][d] = splat(0.0f);
  }
  const vf floor = splat(kMinLog2Alpha), ceiling = splat(kMaxAlpha),
           least = splat(kMinTransmittance);
  const Splat* const splats = bins.splats.get();
  const Entry* const entries = bins.entries.get();
  uint32_t entry = begin;
  for (; entry < end; ++entry) {
    __builtin_prefetch(&splats[entries[std::min(entry + 8, end - 1)].rank]);
    const uint32_t rank = entries[entry].rank;
    const Splat& s = splats[rank];
    const Color& color = colors[rank];
    Quadratic q = quadratic(s, pixels.x[first]);
    bool changed = false;
    for (int g = 0; g < kGroup; ++g) {
      if (kLanes < kTile && g > 0) q = quadratic(s, pixels.x[first + g]);
      const vf power = log2_alpha(q, pixels.y[first + g] - q.y);
      const mask hit = ge_where(alive[g], power, floor);
      if (!any(hit)) continue;
      const vf weight = min(exp2(power), ceiling) * T[g];
      const vf next = T[g] - weight;
      const mask drawn = gt_where(hit, next, least);
      const mask stopped = and_not(hit, drawn);
      if (any(stopped)) [[unlikely]] {
        alive[g] = and_not(alive[g], stopped);
        changed = true;
      }
      T[g] = select(drawn, next, T[g]);
      for (int d = 0; d < D; ++d)
        C[g][d] = fma_where(drawn, weight, splat(color.channel[d]), C[g][d]);
    }
    if (changed) [[unlikely]] {
      bool open = false;
      for (int g = 0; g < kGroup; ++g) open |= any(alive[g]);
      if (!open) {
        ++entry;
        break;
      }
    }
  }
  for (int g = 0; g < kGroup; ++g) {
    store(&out[4][(first + g) * kLanes], T[g]);
    for (int d = 0; d < D; ++d) store(&out[d][(first + g) * kLanes], C[g][d]);
  }
  return static_cast<int>(entry - begin);
}

template <int D>
void blend_tile(const BlendArgs& a, const Color* colors, long tile) {
  const Bins& bins = *a.bins;
  const int tile_x = static_cast<int>(tile % bins.tiles_x);
  const int tile_y = static_cast<int>(tile / bins.tiles_x);
  const TilePixels pixels = pixels_of(bins, tile_x, tile_y);
  alignas(64) float out[5][kTile * kTile];
  int used = 0;
  for (int first = 0; first < kVectors; first += kGroup)
    used = std::max(used, blend_group<D>(bins, colors, pixels, first, bins.tile_begin[tile],
                                         bins.tile_begin[tile + 1], out));
  a.used[tile] = static_cast<uint32_t>(used);
  for_pixels(bins, tile_x, tile_y, [&](long pixel, int at) {
    const float T = out[4][at];
    for (int d = 0; d < D; ++d)
      a.image[pixel * D + d] = out[d][at] + (a.background ? T * a.background[d] : 0.0f);
    a.transmittance[pixel] = T;
    a.alpha[pixel] = 1.0f - T;
  });
}

template <int D>
void blend_all(const BlendArgs& a) {
  const std::vector<Color> colors = colors_by_rank(*a.bins, a.colors, D);
  const long tiles = static_cast<long>(a.bins->tiles_x) * a.bins->tiles_y;
  parallel_for(static_cast<int>((tiles + kTilesPerTask - 1) / kTilesPerTask), [&](int task) {
    const long end = std::min<long>(tiles, (task + 1l) * kTilesPerTask);
    for (long tile = static_cast<long>(task) * kTilesPerTask; tile < end; ++tile)
      blend_tile<D>(a, colors.data(), tile);
  });
}

// --------------------------------------------------------------------------------- backward

// Sums of each of n <= 16 vectors over their lanes.
template <int n>
inline void sums(const vf (&v)[n], float* out) {
#if ISA_avx512
  vf quad[4] = {};  // quad[i] holds partial sums of v[4i .. 4i+3] in each group of 4 lanes
  for (int i = 0; i < (n + 3) / 4; ++i) {
    const auto at = [&](int j) { return 4 * i + j < n ? v[4 * i + j < n ? 4 * i + j : 0] : vf{}; };
    const vf ab = _mm512_unpacklo_ps(at(0), at(1)) + _mm512_unpackhi_ps(at(0), at(1));
    const vf cd = _mm512_unpacklo_ps(at(2), at(3)) + _mm512_unpackhi_ps(at(2), at(3));
    quad[i] = (vf)_mm512_unpacklo_pd((__m512d)ab, (__m512d)cd) +
              (vf)_mm512_unpackhi_pd((__m512d)ab, (__m512d)cd);
  }
  const vf low = (vf)_mm512_shuffle_f32x4(quad[0], quad[1], 0x88) +
                 (vf)_mm512_shuffle_f32x4(quad[0], quad[1], 0xdd);
  const vf high = (vf)_mm512_shuffle_f32x4(quad[2], quad[3], 0x88) +
                  (vf)_mm512_shuffle_f32x4(quad[2], quad[3], 0xdd);
  const vf all = (vf)_mm512_shuffle_f32x4(low, high, 0x88) +
                 (vf)_mm512_shuffle_f32x4(low, high, 0xdd);
  _mm512_mask_storeu_ps(out, static_cast<__mmask16>((1u << n) - 1), all);
#else
  for (int i = 0; i < n; ++i) out[i] = sum(v[i]);
#endif
}

// What one pixel group needs while the list is read again.
template <int D>
struct BackwardState {
  vf T[kGroup], behind[kGroup], v[kGroup][D];
  mask alive[kGroup];
};

// Numbers kept per (tile, splat) pair: moments of d = alpha dL/dalpha over the pixels
// (1, dx, dy, dx^2, dx dy, dy^2), the colour gradient, and |dL/d mean| when wanted.
template <int D, bool kAbs>
constexpr int kSlot = 6 + D + (kAbs ? 2 : 0);

template <int D, bool kAbs>
inline bool backward_pair(const Splat& s, const Color& color, const TilePixels& pixels, int first,
                          BackwardState<D>& state, float* slot) {
  const vf floor = splat(kMinLog2Alpha), ceiling = splat(kMaxAlpha),
           least = splat(kMinTransmittance), one = splat(1.0f);
  vf total[kSlot<D, kAbs>] = {};
  vf m0 = splat(0.0f), m1 = m0, m2 = m0;
  Quadratic q = quadratic(s, pixels.x[first]);
  bool touched = false;
  for (int g = 0; g < kGroup; ++g) {
    if (kLanes < kTile && g > 0) q = quadratic(s, pixels.x[first + g]);
    const vf dy = pixels.y[first + g] - q.y;
    const vf power = log2_alpha(q, dy);
    const mask hit = ge_where(state.alive[g], power, floor);
    if (!any(hit)) continue;
    const vf raw = exp2(power), alpha = min(raw, ceiling);
    const vf weight = alpha * state.T[g];
    const vf next = state.T[g] - weight;
    const mask drawn = gt_where(hit, next, least);
    state.alive[g] = and_not(state.alive[g], and_not(hit, drawn));
    state.T[g] = select(drawn, next, state.T[g]);
    const vf w = zero_unless(drawn, weight);
    touched = true;
    vf shade = splat(color.channel[0]) * state.v[g][0];
    for (int d = 1; d < D; ++d) shade = fma(splat(color.channel[d]), state.v[g][d], shade);
    state.behind[g] = fma(-w, shade, state.behind[g]);
    for (int d = 0; d < D; ++d) total[6 + d] = fma(w, state.v[g][d], total[6 + d]);
    // alpha dL/dalpha = w shade - behind alpha / (1 - alpha); a clamped alpha has no gradient.
    const vf slope = fma(weight, shade, -(state.behind[g] * alpha * reciprocal(one - alpha)));
    const vf d = zero_unless(both(drawn, le(raw, ceiling)), slope);
    const vf dm = d * dy;
    if (kLanes < kTile) {
      total[0] += d, total[1] = fma(d, q.dx, total[1]), total[2] += dm;
      total[3] = fma(d * q.dx, q.dx, total[3]), total[4] = fma(dm, q.dx, total[4]);
      total[5] = fma(dm, dy, total[5]);
    } else {
      m0 += d, m1 += dm, m2 = fma(dm, dy, m2);
    }
    if (kAbs) {  // |d (a dx + b dy)| and |d (b dx + c dy)|, still in the scaled conic
      const vf gx = d * fma(splat(s.b), dy, splat(2 * s.a) * q.dx);
      const vf gy = d * fma(splat(2 * s.c), dy, splat(s.b) * q.dx);
      total[6 + D] += max(gx, -gx), total[7 + D] += max(gy, -gy);
    }
  }
  if (!touched) return false;
  if (kLanes >= kTile) {
    total[0] = m0, total[1] = m0 * q.dx, total[2] = m1;
    total[3] = total[1] * q.dx, total[4] = m1 * q.dx, total[5] = m2;
  }
  constexpr int n = kSlot<D, kAbs>;
  if (kVectors == kGroup) {
    sums<n>(total, slot);
  } else {
    float part[n];
    sums<n>(total, part);
    for (int i = 0; i < n; ++i) slot[i] += part[i];
  }
  return true;
}

template <int D, bool kAbs>
void backward_tile(const BlendBackwardArgs& a, const Color* colors, long tile, float* slots,
                   double* v_background) {
  const Bins& bins = *a.forward.bins;
  const int tile_x = static_cast<int>(tile % bins.tiles_x);
  const int tile_y = static_cast<int>(tile / bins.tiles_x);
  const TilePixels pixels = pixels_of(bins, tile_x, tile_y);
  alignas(64) float v[D][kTile * kTile] = {}, behind[kTile * kTile] = {};
  for_pixels(bins, tile_x, tile_y, [&](long pixel, int at) {
    const float T = a.forward.transmittance[pixel];
    float colored = -T * a.v_alpha[pixel];
    for (int d = 0; d < D; ++d) {
      v[d][at] = a.v_image[pixel * D + d];
      colored += a.forward.image[pixel * D + d] * v[d][at];
      if (v_background) v_background[d] += T * v[d][at];
    }
    behind[at] = colored;
  });
  constexpr int n = kSlot<D, kAbs>;
  const uint32_t begin = bins.tile_begin[tile], end = begin + a.forward.used[tile];
  if (kVectors != kGroup)
    for (uint32_t entry = begin; entry < end; ++entry)
      std::memset(slots + static_cast<long>(bins.entries[entry].slot) * n, 0, sizeof(float) * n);
  for (int first = 0; first < kVectors; first += kGroup) {
    BackwardState<D> state;
    for (int g = 0; g < kGroup; ++g) {
      state.T[g] = splat(1.0f);
      state.behind[g] = load(behind + (first + g) * kLanes);
      state.alive[g] = gt(pixels.inside[first + g], splat(0.5f));
      for (int d = 0; d < D; ++d) state.v[g][d] = load(v[d] + (first + g) * kLanes);
    }
    for (uint32_t entry = begin; entry < end; ++entry) {
      const uint32_t ahead = std::min(entry + 8, end - 1);
      __builtin_prefetch(&bins.splats[bins.entries[ahead].rank]);
      __builtin_prefetch(slots + static_cast<long>(bins.entries[ahead].slot) * n, 1);
      const uint32_t rank = bins.entries[entry].rank;
      float* slot = slots + static_cast<long>(bins.entries[entry].slot) * n;
      if (!backward_pair<D, kAbs>(bins.splats[rank], colors[rank], pixels, first, state, slot) &&
          kVectors == kGroup)
        std::memset(slot, 0, sizeof(float) * n);
    }
  }
  // Pairs behind the last opaque pixel were never read in the forward pass.
  for (uint32_t entry = end; entry < bins.tile_begin[tile + 1]; ++entry)
    std::memset(slots + static_cast<long>(bins.entries[entry].slot) * n, 0, sizeof(float) * n);
}

// Adds up each splat's slots and turns moments into gradients of its 2-D parameters.
template <int D, bool kAbs>
void gather_gradients(const BlendBackwardArgs& a, const float* slots) {
  const Bins& bins = *a.forward.bins;
  constexpr int n = kSlot<D, kAbs>;
  constexpr float kConic = -1.3862943611198906f;  // -2 ln 2: from the scaled conic back to the conic
  parallel_ranges(bins.num_visible, 2048, [&](long begin, long end, int) {
    for (long rank = begin; rank < end; ++rank) {
      float m[n] = {};
      const uint32_t last = bins.slot_begin[rank + 1];
      for (uint32_t slot = bins.slot_begin[rank]; slot < last; ++slot)
        for (int k = 0; k < n; ++k) m[k] += slots[static_cast<long>(slot) * n + k];
      const Splat& s = bins.splats[rank];
      const long i = s.index;
      const float A = kConic * s.a, B = 0.5f * kConic * s.b, C = kConic * s.c;
      a.v_means2d[2 * i] = A * m[1] + B * m[2];
      a.v_means2d[2 * i + 1] = B * m[1] + C * m[2];
      a.v_conics[3 * i] = -0.5f * m[3];
      a.v_conics[3 * i + 1] = -m[4];
      a.v_conics[3 * i + 2] = -0.5f * m[5];
      a.v_opacities[i] = m[0] / s.opacity;
      for (int d = 0; d < D; ++d) a.v_colors[i * D + d] = m[6 + d];
      if (kAbs) {
        constexpr float kScale = 0.6931471805599453f;
        a.v_abs_means2d[2 * i] += kScale * m[6 + D];
        a.v_abs_means2d[2 * i + 1] += kScale * m[7 + D];
      }
    }
  });
}

template <int D, bool kAbs>
void backward_all(const BlendBackwardArgs& a) {
  const Bins& bins = *a.forward.bins;
  const long tiles = static_cast<long>(bins.tiles_x) * bins.tiles_y;
  const std::vector<Color> colors = colors_by_rank(bins, a.forward.colors, D);
  // Every element is written by exactly one tile before it is read.
  const std::unique_ptr<float[]> slots(new float[bins.num_entries * kSlot<D, kAbs> + 16]);
  const int tasks = static_cast<int>((tiles + kTilesPerTask - 1) / kTilesPerTask);
  std::vector<double> v_background(a.v_background ? tasks * D : 0, 0.0);
  parallel_for(tasks, [&](int task) {
    const long end = std::min<long>(tiles, (task + 1l) * kTilesPerTask);
    for (long tile = static_cast<long>(task) * kTilesPerTask; tile < end; ++tile)
      backward_tile<D, kAbs>(a, colors.data(), tile, slots.get(),
                             a.v_background ? v_background.data() + task * D : nullptr);
  });
  for (size_t k = 0; k < v_background.size(); ++k) a.v_background[k % D] += v_background[k];
  parallel_ranges(a.N, 16384, [&](long begin, long end, int) {
    const long count = end - begin;
    std::memset(a.v_means2d + 2 * begin, 0, sizeof(float) * 2 * count);
    std::memset(a.v_conics + 3 * begin, 0, sizeof(float) * 3 * count);
    std::memset(a.v_opacities + begin, 0, sizeof(float) * count);
    std::memset(a.v_colors + D * begin, 0, sizeof(float) * D * count);
  });
  gather_gradients<D, kAbs>(a, slots.get());
}

template <int D>
void backward_channels(const BlendBackwardArgs& a) {
  if (a.v_abs_means2d) backward_all<D, true>(a);
  else backward_all<D, false>(a);
}

}  // namespace

void blend(const BlendArgs& a) {
  switch (a.D) {
    case 1: return blend_all<1>(a);
    case 2: return blend_all<2>(a);
    case 3: return blend_all<3>(a);
    default: return blend_all<4>(a);
  }
}

void blend_backward(const BlendBackwardArgs& a) {
  switch (a.forward.D) {
    case 1: return backward_channels<1>(a);
    case 2: return backward_channels<2>(a);
    case 3: return backward_channels<3>(a);
    default: return backward_channels<4>(a);
  }
}

}  // namespace fieldwright::ISA
