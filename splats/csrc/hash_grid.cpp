// Indices and weights of kLanes points at a time in vectors; entries are read with gathers where
// the instruction set has them. Entries are summed in a fixed order, whatever the threads.
// Chunks of points take one level after the other: of a level, but not of all of them, the
// translation buffers and often the caches hold the entries.
#include "hash_grid.hpp"

#include <algorithm>

#include "rows.hpp"

namespace fieldwright::ISA {
namespace {

typedef uint32_t vu __attribute__((vector_size(kLanes * 4), aligned(4 * kLanes)));

constexpr uint32_t kPrimeY = 2654435761u, kPrimeZ = 805459861u;

// One entry of the table, or its gradient.
template <int F>
struct Entry {
  typedef float type __attribute__((vector_size(4 * F)));
  static type load(const float* p) {
    type v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  static void store(float* p, type v) { std::memcpy(p, &v, sizeof(v)); }
};

constexpr int kChunk = 1024;

// At most kChunk points, coordinate by coordinate.
struct Chunk {
  vf points[kChunk / kLanes][3];
  int size;

  Chunk(const float* rows, long begin, long end) : size(static_cast<int>(end - begin)) {
    for (int i = 0; i < size; i += kLanes)
      load_rows(rows + 3 * (begin + i), count(i), points[i / kLanes]);
  }
  int count(int i) const { return std::min(kLanes, size - i); }
};

#if ISA_avx2 || ISA_avx512
// Two floats travel in a vector register; as an 8-byte vector they would pass through general ones.
template <>
struct Entry<2> {
  typedef __m128 type;
  static type load(const float* p) {
    return _mm_castpd_ps(_mm_load_sd(reinterpret_cast<const double*>(p)));
  }
  static void store(float* p, type v) {
    _mm_store_sd(reinterpret_cast<double*>(p), _mm_castps_pd(v));
  }
};
#endif

// The cell of kLanes points on one level. Corner 4 i + 2 j + k lies i, j, k steps along z, y, x.
struct Cell {
  vf x, y, z;  // position within the cell, in [0, 1]
  vu index[8];

  // A coordinate that is not a number becomes 0, so that indices always are within the table.
  static vu place(vf p, float resolution, vf& fraction) {
    const vf scaled = min(max(p, splat(0.0f)), splat(1.0f)) * resolution;
    const vi whole = __builtin_convertvector(min(scaled, splat(resolution - 1.0f)), vi);
    fraction = scaled - __builtin_convertvector(whole, vf);
    return (vu)whole;
  }

  Cell(const GridLevel& level, const vf (&point)[3]) {
    const float resolution = static_cast<float>(level.resolution);
    const vu cx = place(point[0], resolution, x), cy = place(point[1], resolution, y),
             cz = place(point[2], resolution, z);
    if (level.hashed) {
      const vu ys[2] = {cy * kPrimeY, cy * kPrimeY + kPrimeY};
      const vu zs[2] = {cz * kPrimeZ, cz * kPrimeZ + kPrimeZ};
      const vu xs[2] = {cx, cx + 1u};
      for (int c = 0; c < 8; ++c)
        index[c] = (xs[c & 1] ^ ys[c >> 1 & 1] ^ zs[c >> 2]) & (level.size - 1u);
    } else {
      const uint32_t row = static_cast<uint32_t>(level.resolution) + 1u, plane = row * row;
      const vu first = cx + cy * row + cz * plane;
      for (int c = 0; c < 8; ++c)
        index[c] = first + ((c & 1) + (c >> 1 & 1) * row + (c >> 2) * plane);
    }
  }

  void weights(vf (&w)[8]) const {
    const vf xs[2] = {1.0f - x, x};
    const vf yz[4] = {(1.0f - y) * (1.0f - z), y * (1.0f - z), (1.0f - y) * z, y * z};
    for (int c = 0; c < 8; ++c) w[c] = xs[c & 1] * yz[c >> 1];
  }
};

#if ISA_avx2 || ISA_avx512
// Two features per entry: an entry is one 64-bit element of a gather. Lanes of the two sums hold
// (point 0, feature 0), (point 0, feature 1), (point 1, feature 0), ...
inline void blend_pairs(const float* table, const Cell& cell, const vf (&w)[8], vf& low, vf& high) {
  low = high = splat(0.0f);
  for (int c = 0; c < 8; ++c) {
#if ISA_avx512
    const __m512i first = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    const __m256i lo = _mm512_castsi512_si256((__m512i)cell.index[c]);
    const __m256i hi = _mm512_extracti64x4_epi64((__m512i)cell.index[c], 1);
    const vf a = (vf)_mm512_i32gather_pd(lo, table, 8), b = (vf)_mm512_i32gather_pd(hi, table, 8);
    low = fma(_mm512_permutexvar_ps(first, w[c]), a, low);
    high = fma(_mm512_permutexvar_ps(second, w[c]), b, high);
#else
    const double* entries = reinterpret_cast<const double*>(table);
    const __m256i first = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    const __m256i second = _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7);
    const __m128i lo = _mm256_castsi256_si128((__m256i)cell.index[c]);
    const __m128i hi = _mm256_extracti128_si256((__m256i)cell.index[c], 1);
    const vf a = (vf)_mm256_i32gather_pd(entries, lo, 8);
    const vf b = (vf)_mm256_i32gather_pd(entries, hi, 8);
    low = fma(_mm256_permutevar8x32_ps(w[c], first), a, low);
    high = fma(_mm256_permutevar8x32_ps(w[c], second), b, high);
#endif
  }
}
#endif

template <int F>
void forward_level(const HashGridProblem& problem, const GridLevel& level, const vf (&point)[3],
                   int count, float* out, long stride) {
  const float* table = problem.table + level.offset * F;
  const Cell cell(level, point);
  vf w[8];
  cell.weights(w);
#if ISA_avx2 || ISA_avx512
  if constexpr (F == 2) {
    alignas(64) float sums[2 * kLanes];
    vf low, high;
    blend_pairs(table, cell, w, low, high);
    store(sums, low), store(sums + kLanes, high);
    for (int j = 0; j < count; ++j) std::memcpy(out + j * stride, sums + 2 * j, 8);
    return;
  }
#endif
  for (int j = 0; j < count; ++j) {
    typename Entry<F>::type sum = {};
    for (int c = 0; c < 8; ++c) sum += w[c][j] * Entry<F>::load(table + long(cell.index[c][j]) * F);
    Entry<F>::store(out + j * stride, sum);
  }
}

template <int F>
void forward(const HashGridProblem& problem, float* features, long begin, long end) {
  const long stride = long(problem.levels.size()) * F;
  for (long start = begin; start < end; start += kChunk) {
    const Chunk chunk(problem.points, start, std::min(start + kChunk, end));
    float* out = features + start * stride;
    for (const GridLevel& level : problem.levels) {
      for (int i = 0; i < chunk.size; i += kLanes)
        forward_level<F>(problem, level, chunk.points[i / kLanes], chunk.count(i),
                         out + i * stride, stride);
      out += F;
    }
  }
}

// Whether the gradient of kLanes points is zero, as it is for whatever no pixel shows.
inline bool all_zero(const float* v, long count) {
  vi seen = {};
  long i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    seen |= (vi)load(v + i) & 0x7fffffff;  // all but the sign
  }
  for (int k = 0; k < kLanes; ++k)
    if (seen[k] != 0) return false;
  for (; i < count; ++i)
    if (v[i] != 0) return false;
  return true;
}

template <int F, bool sliced>
void scatter(const GridLevel& level, const vf (&point)[3], int count, const float* v, long stride,
             float* v_table, const GridShare& share) {
  using E = Entry<F>;
  const Cell cell(level, point);
  vf w[8];
  cell.weights(w);
  alignas(64) uint32_t index[8][kLanes];
  alignas(64) float weight[8][kLanes];
  std::memcpy(index, cell.index, sizeof(index));
  std::memcpy(weight, w, sizeof(weight));
  const uint32_t first = uint64_t(level.size) * share.slice / share.slices;
  const uint32_t last = uint64_t(level.size) * (share.slice + 1) / share.slices;
  float* table = v_table + level.offset * F;
  for (int j = 0; j < count; ++j) {
    const typename E::type g = E::load(v + j * stride);
    for (int c = 0; c < 8; ++c) {
      const uint32_t k = index[c][j];
      if (sliced && (k < first || k >= last)) continue;
      float* entry = table + long(k) * F;
      E::store(entry, E::load(entry) + weight[c][j] * g);
    }
  }
}

template <int F>
void table_gradient(const HashGridProblem& problem, const float* v_features, float* v_table,
                    const GridShare& share) {
  const int L = static_cast<int>(problem.levels.size());
  const long stride = long(L) * F;
  for (long start = 0; start < problem.N; start += kChunk) {
    const Chunk chunk(problem.points, start, std::min(start + kChunk, problem.N));
    bool skipped[kChunk / kLanes];
    for (int i = 0; i < chunk.size; i += kLanes)
      skipped[i / kLanes] = all_zero(v_features + (start + i) * stride, chunk.count(i) * stride);
    for (int l = share.owner; l < L; l += share.owners)
      for (int i = 0; i < chunk.size; i += kLanes) {
        if (skipped[i / kLanes]) continue;
        const float* v = v_features + (start + i) * stride + l * F;
        const auto& point = chunk.points[i / kLanes];
        if (share.slices > 1)
          scatter<F, true>(problem.levels[l], point, chunk.count(i), v, stride, v_table, share);
        else
          scatter<F, false>(problem.levels[l], point, chunk.count(i), v, stride, v_table, share);
      }
  }
}

// Gradient of the interpolation with respect to the position, from <v_features, entry> of the
// eight corners.
template <int F>
void add_point_gradient(const HashGridProblem& problem, const GridLevel& level,
                        const vf (&point)[3], int count, const float* v, long stride, vf (&g)[3]) {
  using E = Entry<F>;
  const float* table = problem.table + level.offset * F;
  const Cell cell(level, point);
  alignas(64) float products[8][kLanes] = {};
  for (int j = 0; j < count; ++j) {
    const typename E::type own = E::load(v + j * stride);
    for (int c = 0; c < 8; ++c) {
      const typename E::type product = own * E::load(table + long(cell.index[c][j]) * F);
      for (int k = 0; k < F; ++k) products[c][j] += product[k];
    }
  }
  vf d[8];
  for (int c = 0; c < 8; ++c) d[c] = load(products[c]);
  const vf x0 = 1.0f - cell.x, y0 = 1.0f - cell.y, z0 = 1.0f - cell.z;
  const vf vx = z0 * (y0 * (d[1] - d[0]) + cell.y * (d[3] - d[2])) +
                cell.z * (y0 * (d[5] - d[4]) + cell.y * (d[7] - d[6]));
  const vf vy = z0 * (x0 * (d[2] - d[0]) + cell.x * (d[3] - d[1])) +
                cell.z * (x0 * (d[6] - d[4]) + cell.x * (d[7] - d[5]));
  const vf vz = y0 * (x0 * (d[4] - d[0]) + cell.x * (d[5] - d[1])) +
                cell.y * (x0 * (d[6] - d[2]) + cell.x * (d[7] - d[3]));
  const vf resolution = splat(static_cast<float>(level.resolution));
  g[0] = fma(vx, resolution, g[0]);
  g[1] = fma(vy, resolution, g[1]);
  g[2] = fma(vz, resolution, g[2]);
}

template <int F>
void point_gradient(const HashGridProblem& problem, const float* v_features, float* v_points,
                    long begin, long end) {
  const int L = static_cast<int>(problem.levels.size());
  const long stride = long(L) * F;
  for (long i = begin; i < end; i += kLanes) {
    const int count = static_cast<int>(std::min<long>(kLanes, end - i));
    vf point[3], g[3] = {};
    load_rows(problem.points + 3 * i, count, point);
    for (int l = 0; l < L; ++l)
      add_point_gradient<F>(problem, problem.levels[l], point, count,
                            v_features + i * stride + l * F, stride, g);
    for (int k = 0; k < 3; ++k)  // outside of the cube the clamped position does not move
      g[k] = zero_unless(both(ge(point[k], splat(0.0f)), le(point[k], splat(1.0f))), g[k]);
    store_rows(v_points + 3 * i, count, g);
  }
}

// Calls function<F>() for the number of features at hand.
template <typename Function>
void with_features(int F, Function function) {
  switch (F) {
    case 1: return function.template operator()<1>();
    case 2: return function.template operator()<2>();
    case 4: return function.template operator()<4>();
    default: return function.template operator()<8>();
  }
}

}  // namespace

void hash_grid_rows(const HashGridProblem& problem, float* features, long begin, long end) {
  with_features(problem.F, [&]<int F>() { forward<F>(problem, features, begin, end); });
}

void hash_grid_table_gradient(const HashGridProblem& problem, const float* v_features,
                              float* v_table, const GridShare& share) {
  with_features(problem.F, [&]<int F>() { table_gradient<F>(problem, v_features, v_table, share); });
}

void hash_grid_point_gradient(const HashGridProblem& problem, const float* v_features,
                              float* v_points, long begin, long end) {
  with_features(problem.F,
                [&]<int F>() { point_gradient<F>(problem, v_features, v_points, begin, end); });
}

}  // namespace fieldwright::ISA
