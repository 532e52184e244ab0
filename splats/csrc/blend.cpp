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
#include <type_traits>
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
// Rows from one vector to the next, where a vector holds whole rows.
constexpr float kStep = static_cast<float>(kLanes) / kTile;

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

// Calls visit(pixel, at, columns) for each row of a tile: its first pixel in the image, its first
// place in the tile, and how many pixels it has; a constant for all but the last tiles, so that the
// loops over them become vectors.
template <typename Visit>
inline void for_rows(const Bins& bins, int tile_x, int tile_y, Visit visit) {
  const int rows = std::min(kTile, bins.height - tile_y * kTile);
  const int columns = std::min(kTile, bins.width - tile_x * kTile);
  const long corner = static_cast<long>(tile_y * kTile) * bins.width + tile_x * kTile;
  for (int row = 0; row < rows; ++row) {
    const long pixel = corner + static_cast<long>(row) * bins.width;
    if (columns == kTile) visit(pixel, row * kTile, std::integral_constant<int, kTile>());
    else visit(pixel, row * kTile, columns);
  }
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

// log2(alpha) of one splat at the vectors of a group. Where a vector holds whole rows, consecutive
// vectors are equal steps in y, so the quadratic form is continued by its differences: two
// additions per vector, on units that the multiply-adds of blending leave idle.
struct Quadratic {
  vf dx[kLanes < kTile ? kGroup : 1], dy, power[kGroup];
};

inline Quadratic quadratic(const Splat& s, const TilePixels& pixels, int first) {
  Quadratic q;
  if constexpr (kLanes < kTile) {
    for (int g = 0; g < kGroup; ++g) {
      const vf dx = pixels.x[first + g] - s.x, dy = pixels.y[first + g] - s.y;
      q.dx[g] = dx;
      q.power[g] = fma(fma(splat(s.c), dy, s.b * dx), dy, fma(s.a * dx, dx, splat(s.l)));
    }
  } else {
    const vf dx = q.dx[0] = pixels.x[first] - s.x, dy = q.dy = pixels.y[first] - s.y;
    const vf linear = s.b * dx, c = splat(s.c);
    q.power[0] = fma(fma(c, dy, linear), dy, fma(s.a * dx, dx, splat(s.l)));
    vf step = kStep * fma(splat(2.0f), c * dy, fma(splat(kStep), c, linear));
    const vf change = 2.0f * kStep * kStep * c;
    for (int g = 1; g < kGroup; ++g, step += change) q.power[g] = q.power[g - 1] + step;
  }
  return q;
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
    const Quadratic q = quadratic(s, pixels, first);
    mask stopped[kGroup];
    vf raw[kGroup];
    exp2(q.power, raw);
    // No branch on what a vector hits: it would be mispredicted more often than it would save.
    for (int g = 0; g < kGroup; ++g) {
      const mask hit = ge_where(alive[g], q.power[g], floor);
      const vf weight = min(raw[g], ceiling) * T[g];
      const vf next = T[g] - weight;
      const mask drawn = gt_where(hit, next, least);
      stopped[g] = and_not(hit, drawn);
      T[g] = select(drawn, next, T[g]);
      for (int d = 0; d < D; ++d)
        C[g][d] = fma_where(drawn, weight, splat(color.channel[d]), C[g][d]);
    }
    mask some = stopped[0];
    for (int g = 1; g < kGroup; ++g) some = either(some, stopped[g]);
    if (any(some)) [[unlikely]] {
      bool open = false;
      for (int g = 0; g < kGroup; ++g) {
        alive[g] = and_not(alive[g], stopped[g]);
        open |= any(alive[g]);
      }
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
  float background[D] = {};
  if (a.background) std::copy_n(a.background, D, background);
  for_rows(bins, tile_x, tile_y, [&](long pixel, int at, auto columns) {
    const float* T = out[4] + at;
    float image[kTile * D], alpha[kTile];  // of our own, so that nothing can overlap
    for (int i = 0; i < columns; ++i)
      for (int d = 0; d < D; ++d) image[i * D + d] = out[d][at + i] + T[i] * background[d];
    for (int i = 0; i < columns; ++i) alpha[i] = 1.0f - T[i];
    std::memcpy(a.image + pixel * D, image, sizeof(float) * D * columns);
    std::memcpy(a.transmittance + pixel, T, sizeof(float) * columns);
    std::memcpy(a.alpha + pixel, alpha, sizeof(float) * columns);
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

#if ISA_avx512 || ISA_avx2
typedef __m256 row;  // one row of a tile

// The rows of a vector, added.
inline row fold(vf v) {
#if ISA_avx512
  return _mm512_castps512_ps256(v) + _mm512_extractf32x8_ps(v, 1);
#else
  return v;
#endif
}

inline row first_row(vf v) {
#if ISA_avx512
  return _mm512_castps512_ps256(v);
#else
  return v;
#endif
}

// Lane i of the result is the sum over the lanes of v[i]; lanes from n on are 0.
template <int n>
inline row sums(const row* v) {
  const auto at = [&](int i) { return i < n ? v[i < n ? i : 0] : row{}; };
  const auto pair = [](row a, row b) {
    return _mm256_unpacklo_ps(a, b) + _mm256_unpackhi_ps(a, b);
  };
  const auto quad = [](row a, row b) {
    return (row)_mm256_unpacklo_pd((__m256d)a, (__m256d)b) +
           (row)_mm256_unpackhi_pd((__m256d)a, (__m256d)b);
  };
  const row low = quad(pair(at(0), at(1)), pair(at(2), at(3)));
  const row high = quad(pair(at(4), at(5)), pair(at(6), at(7)));
  return _mm256_permute2f128_ps(low, high, 0x20) + _mm256_permute2f128_ps(low, high, 0x31);
}

// Adds the sums of 8 to 16 rows to out, or sets them.
template <int n, bool kAdd>
inline void store_sums(const row (&v)[n], float* out) {
  row first = sums<8>(v), rest = sums<n - 8>(v + 8);
  alignas(32) float buffer[8];
  if (kAdd) {
    std::memcpy(buffer, out + 8, sizeof(float) * (n - 8));
    first += _mm256_loadu_ps(out), rest += _mm256_load_ps(buffer);
  }
  _mm256_storeu_ps(out, first);
  _mm256_store_ps(buffer, rest);
  std::memcpy(out + 8, buffer, sizeof(float) * (n - 8));
}
#endif

// What one pixel group needs while the list is read again.
template <int D>
struct BackwardState {
  vf T[kGroup], behind[kGroup], v[kGroup][D];
  mask alive[kGroup];
};

// Numbers kept per (tile, splat) pair: moments of d = alpha dL/dalpha over the pixels
// (1, dx, dy, dx^2, dx dy, dy^2), the colour gradient, and |dL/d mean| when wanted; at least 8,
// what one store writes.
template <int D, bool kAbs>
constexpr int kSlot = std::max(8, 6 + D + (kAbs ? 2 : 0));

// Writes a pair's slot, or adds to it: moments of d, the colour gradient, and what kAbs asks for.
template <int D, bool kAbs, bool kAdd>
inline void store_slot(const Splat& s, const Quadratic& q, const TilePixels& pixels, int first,
                       const vf (&d)[kGroup], const vf (&color)[D], float* slot) {
  constexpr int n = kSlot<D, kAbs>;
  vf abs_x = splat(0.0f), abs_y = abs_x;
  if (kAbs)  // |d (a dx + b dy)| and |d (b dx + c dy)|, still in the scaled conic
    for (int g = 0; g < kGroup; ++g) {
      const vf dx = q.dx[kLanes < kTile ? g : 0], dy = pixels.y[first + g] - s.y;
      const vf gx = d[g] * fma(splat(s.b), dy, splat(2 * s.a) * dx);
      const vf gy = d[g] * fma(splat(2 * s.c), dy, splat(s.b) * dx);
      abs_x += max(gx, -gx), abs_y += max(gy, -gy);
    }
#if ISA_avx512 || ISA_avx2
  vf m0 = d[0], m1 = d[0] * q.dy, m2 = m1 * q.dy, dy = q.dy;
  for (int g = 1; g < kGroup; ++g) {
    dy += kStep;
    const vf dm = d[g] * dy;
    m0 += d[g], m1 += dm, m2 = fma(dm, dy, m2);
  }
  const row dx = first_row(q.dx[0]);
  row part[n] = {};
  part[0] = fold(m0), part[1] = part[0] * dx, part[2] = fold(m1);
  part[3] = part[1] * dx, part[4] = part[2] * dx, part[5] = fold(m2);
  for (int c = 0; c < D; ++c) part[6 + c] = fold(color[c]);
  if (kAbs) part[6 + D] = fold(abs_x), part[7 + D] = fold(abs_y);
  store_sums<n, kAdd>(part, slot);
#else
  vf total[n] = {};
  for (int g = 0; g < kGroup; ++g) {
    const vf dx = q.dx[g], dy = pixels.y[first + g] - s.y, dm = d[g] * dy;
    total[0] += d[g], total[1] = fma(d[g], dx, total[1]), total[2] += dm;
    total[3] = fma(d[g] * dx, dx, total[3]), total[4] = fma(dm, dx, total[4]);
    total[5] = fma(dm, dy, total[5]);
  }
  for (int c = 0; c < D; ++c) total[6 + c] = color[c];
  if (kAbs) total[6 + D] = abs_x, total[7 + D] = abs_y;
  for (int i = 0; i < n; ++i) slot[i] = sum(total[i]) + (kAdd ? slot[i] : 0.0f);
#endif
}

// Reads one pair again and writes its slot, or adds to it.
template <int D, bool kAbs, bool kAdd>
inline void backward_pair(const Splat& s, const Color& color, const TilePixels& pixels, int first,
                          BackwardState<D>& state, float* slot) {
  const vf floor = splat(kMinLog2Alpha), ceiling = splat(kMaxAlpha),
           least = splat(kMinTransmittance);
  const Quadratic q = quadratic(s, pixels, first);
  vf raw[kGroup], weight[kGroup], d[kGroup], v_color[D] = {};
  mask stopped[kGroup], drawn[kGroup];
  exp2(q.power, raw);
  for (int g = 0; g < kGroup; ++g) {
    const mask hit = ge_where(state.alive[g], q.power[g], floor);
    weight[g] = min(raw[g], ceiling) * state.T[g];
    const vf next = state.T[g] - weight[g];
    drawn[g] = gt_where(hit, next, least);
    stopped[g] = and_not(hit, drawn[g]);
    state.T[g] = select(drawn[g], next, state.T[g]);
  }
  for (int g = 0; g < kGroup; ++g) {
    vf shade = splat(color.channel[0]) * state.v[g][0];
    for (int c = 1; c < D; ++c) shade = fma(splat(color.channel[c]), state.v[g][c], shade);
    for (int c = 0; c < D; ++c)
      v_color[c] = fma_where(drawn[g], weight[g], state.v[g][c], v_color[c]);
    d[g] = zero_unless(drawn[g], weight[g] * shade);
    state.behind[g] = state.behind[g] - d[g];
  }
  for (int g = 0; g < kGroup; ++g) {
    // alpha dL/dalpha = w shade - behind alpha / (1 - alpha), where alpha / (1 - alpha) is the
    // weight over what is let through (to 14 bits: a gradient need not be closer); a clamped alpha
    // has no gradient.
    const vf slope =
        fma(-state.behind[g], weight[g] * reciprocal_estimate(state.T[g]), d[g]);
    d[g] = zero_unless(both(drawn[g], le(raw[g], ceiling)), slope);
  }
  mask some = stopped[0];
  for (int g = 1; g < kGroup; ++g) some = either(some, stopped[g]);
  if (any(some)) [[unlikely]]
    for (int g = 0; g < kGroup; ++g) state.alive[g] = and_not(state.alive[g], stopped[g]);
  store_slot<D, kAbs, kAdd>(s, q, pixels, first, d, v_color, slot);
}

template <int D, bool kAbs>
void backward_tile(const BlendBackwardArgs& a, const Color* colors, long tile, float* slots,
                   double* v_background) {
  const Bins& bins = *a.forward.bins;
  const int tile_x = static_cast<int>(tile % bins.tiles_x);
  const int tile_y = static_cast<int>(tile / bins.tiles_x);
  const TilePixels pixels = pixels_of(bins, tile_x, tile_y);
  alignas(64) float v[D][kTile * kTile] = {}, behind[kTile * kTile] = {};
  for_rows(bins, tile_x, tile_y, [&](long pixel, int at, auto columns) {
    float T[kTile], v_alpha[kTile], image[kTile * D], v_image[kTile * D];
    std::memcpy(T, a.forward.transmittance + pixel, sizeof(float) * columns);
    std::memcpy(v_alpha, a.v_alpha + pixel, sizeof(float) * columns);
    std::memcpy(image, a.forward.image + pixel * D, sizeof(float) * D * columns);
    std::memcpy(v_image, a.v_image + pixel * D, sizeof(float) * D * columns);
    for (int i = 0; i < columns; ++i) {
      float colored = -T[i] * v_alpha[i];
      for (int d = 0; d < D; ++d) colored += image[i * D + d] * v_image[i * D + d];
      behind[at + i] = colored;
    }
    for (int d = 0; d < D; ++d) {
      for (int i = 0; i < columns; ++i) v[d][at + i] = v_image[i * D + d];
      if (v_background)
        for (int i = 0; i < columns; ++i) v_background[d] += T[i] * v_image[i * D + d];
    }
  });
  constexpr int n = kSlot<D, kAbs>;
  const uint32_t begin = bins.tile_begin[tile], end = begin + a.forward.used[tile];
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
      if (first == 0)
        backward_pair<D, kAbs, false>(bins.splats[rank], colors[rank], pixels, 0, state, slot);
      else
        backward_pair<D, kAbs, true>(bins.splats[rank], colors[rank], pixels, first, state, slot);
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
