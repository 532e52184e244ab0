// A batch of points meets one group of centers after the other, so that a group stays in the
// first-level cache. Most pairs of a point and a group are settled by a remembered bound; for the
// others 64 lattice distances are computed in integers, and only centers below the best distance
// so far are measured in floats.
#include "kmeans.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "simd.hpp"

namespace fieldwright::ISA {
namespace {

constexpr float kRelative = 1e-5f;  // covers the rounding of distances in float

// Scores q = x.c - |c|^2 / 2 of the 64 centers of a group; larger is nearer.
struct Scores {
  alignas(64) int32_t q[kGroup];
  int32_t top;  // the largest

  // Which lanes have q >= needed.
  uint64_t at_least(int32_t needed) const {
    uint64_t lanes = 0;
#if ISA_avx512
    for (int l = 0; l < kGroup; l += 16)
      lanes |= static_cast<uint64_t>(_mm512_cmpge_epi32_mask(_mm512_load_si512(q + l),
                                                             _mm512_set1_epi32(needed)))
               << l;
#else
    for (int l = 0; l < kGroup; ++l) lanes |= static_cast<uint64_t>(q[l] >= needed) << l;
#endif
    return lanes;
  }
};

#if ISA_avx512
#define FIELDWRIGHT_VNNI \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,avx2"), noinline))

template <int kPairs>
FIELDWRIGHT_VNNI void score_vnni(const int32_t* point, const int16_t* tile,
                                 const int32_t* half_norms, Scores& scores) {
  const __m512i zero = _mm512_setzero_si512();
  __m512i a0 = _mm512_sub_epi32(zero, _mm512_loadu_si512(half_norms));
  __m512i a1 = _mm512_sub_epi32(zero, _mm512_loadu_si512(half_norms + 16));
  __m512i a2 = _mm512_sub_epi32(zero, _mm512_loadu_si512(half_norms + 32));
  __m512i a3 = _mm512_sub_epi32(zero, _mm512_loadu_si512(half_norms + 48));
#pragma GCC unroll 24
  for (int p = 0; p < kPairs; ++p) {
    const __m512i x = _mm512_set1_epi32(point[p]);
    const int16_t* c = tile + 128 * p;
    a0 = _mm512_dpwssd_epi32(a0, x, _mm512_loadu_si512(c));
    a1 = _mm512_dpwssd_epi32(a1, x, _mm512_loadu_si512(c + 32));
    a2 = _mm512_dpwssd_epi32(a2, x, _mm512_loadu_si512(c + 64));
    a3 = _mm512_dpwssd_epi32(a3, x, _mm512_loadu_si512(c + 96));
  }
  _mm512_store_si512(scores.q, a0);
  _mm512_store_si512(scores.q + 16, a1);
  _mm512_store_si512(scores.q + 32, a2);
  _mm512_store_si512(scores.q + 48, a3);
  scores.top = _mm512_reduce_max_epi32(
      _mm512_max_epi32(_mm512_max_epi32(a0, a1), _mm512_max_epi32(a2, a3)));
}

bool has_vnni() {
  static const bool has = [] {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512vnni") != 0;
  }();
  return has;
}
#endif

// The same scores where there is no fused instruction: products of pairs, then sums.
template <int kPairs>
void score_plain(const int32_t* point, const int16_t* tile, const int32_t* half_norms,
                 Scores& scores) {
  for (int l = 0; l < kGroup; ++l) scores.q[l] = -half_norms[l];
  for (int p = 0; p < kPairs; ++p) {
    const int16_t* c = tile + 128 * p;
#if ISA_avx512
    const __m512i x = _mm512_set1_epi32(point[p]);
    for (int l = 0; l < kGroup; l += 16)
      _mm512_store_si512(
          scores.q + l,
          _mm512_add_epi32(_mm512_load_si512(scores.q + l),
                           _mm512_madd_epi16(x, _mm512_loadu_si512(c + 2 * l))));
#elif ISA_avx2
    const __m256i x = _mm256_set1_epi32(point[p]);
    for (int l = 0; l < kGroup; l += 8) {
      __m256i* q = reinterpret_cast<__m256i*>(scores.q + l);
      const __m256i* centers = reinterpret_cast<const __m256i*>(c + 2 * l);
      _mm256_store_si256(q, _mm256_add_epi32(_mm256_load_si256(q),
                                             _mm256_madd_epi16(x, _mm256_loadu_si256(centers))));
    }
#else
    int16_t x[2];
    std::memcpy(x, point + p, sizeof(x));
    for (int l = 0; l < kGroup; ++l) scores.q[l] += x[0] * c[2 * l] + x[1] * c[2 * l + 1];
#endif
  }
  scores.top = *std::max_element(scores.q, scores.q + kGroup);
}

using ScoreKernel = void (*)(const int32_t*, const int16_t*, const int32_t*, Scores&);

template <int... kPairs>
ScoreKernel kernel_for(int pairs, std::integer_sequence<int, kPairs...>) {
  ScoreKernel found = nullptr;
#if ISA_avx512
  if (has_vnni()) {
    ((pairs == 4 * (kPairs + 1) ? void(found = score_vnni<4 * (kPairs + 1)>) : void()), ...);
    return found;
  }
#endif
  ((pairs == 4 * (kPairs + 1) ? void(found = score_plain<4 * (kPairs + 1)>) : void()), ...);
  return found;
}

inline float squared_distance(const float* a, const float* b, int width) {
  vf total = {};
  for (int i = 0; i < width; i += kLanes) {
    const vf difference = load(a + i) - load(b + i);
    total = fma(difference, difference, total);
  }
  return sum(total);
}

// A point on the lattice, and the best center so far.
struct Point {
  alignas(64) int32_t pairs[kMaxPairs];  // lattice coordinates, two to a word
  const float* row;
  double norm;      // squared lattice norm
  float slack;      // distance from the lattice point, in steps
  int32_t best;     // position
  float cost;       // squared distance in float coordinates
  float radius;     // an upper bound of the distance to it, in steps
};

class Search {
 public:
  Search(const CenterGroups& centers, const SearchProblem& problem)
      : centers_(centers),
        problem_(problem),
        kernel_(kernel_for(centers.pairs, std::make_integer_sequence<int, kMaxPairs / 4>())),
        points_(kBatch),
        lists_(centers.num_groups * kBatch),
        lengths_(centers.num_groups) {
    if (!problem.bounds) own_bounds_.resize(kBatch * problem.stride);
  }

  long run(long begin, long end) {
    for (long at = begin; at < end; at += kBatch) batch(at, std::min(at + kBatch, end));
    return scanned_;
  }

 private:
  void batch(long begin, long end) {
    std::fill(lengths_.begin(), lengths_.end(), 0);
    for (long i = begin; i < end; ++i) {
      Point& point = points_[i - begin];
      place(point, i);
      uint16_t* bounds = bounds_of(i, begin);
      if (problem_.bounds && problem_.remembered)
        lower(bounds);
      else
        bound_by_hubs(point, bounds);
      list_groups(bounds, units(point.radius), static_cast<uint8_t>(i - begin));
    }
    for (long g = 0; g < centers_.num_groups; ++g)
      for (int k = 0; k < lengths_[g]; ++k) {
        const uint8_t local = lists_[g * kBatch + k];
        Point& point = points_[local];
        uint16_t& bound = bounds_of(begin + local, begin)[g];
        // The radius may have shrunk since the list was made.
        if (bound < units(point.radius)) bound = scan(point, g);
      }
    for (long i = begin; i < end; ++i) {
      problem_.positions[i] = points_[i - begin].best;
      problem_.costs[i] = points_[i - begin].cost;
    }
  }

  void lower(uint16_t* bounds) const {
    const uint16_t* drift = problem_.drift;
    for (long g = 0; g < problem_.stride; ++g)
      bounds[g] = static_cast<uint16_t>(std::max(bounds[g], drift[g]) - drift[g]);
  }

  // Appends the point to the lists of the groups with bounds below the limit.
  void list_groups(const uint16_t* bounds, uint16_t limit, uint8_t local) {
    for (long first = 0; first < problem_.stride; first += 32) {
      uint32_t below = 0;
#if ISA_avx512
      below = _mm512_cmplt_epu16_mask(_mm512_loadu_si512(bounds + first),
                                      _mm512_set1_epi16(static_cast<int16_t>(limit)));
#else
      for (int l = 0; l < 32; ++l) below |= static_cast<uint32_t>(bounds[first + l] < limit) << l;
#endif
      if (centers_.num_groups - first < 32) below &= (1u << (centers_.num_groups - first)) - 1;
      for (; below; below &= below - 1) {
        const long g = first + __builtin_ctz(below);
        lists_[g * kBatch + lengths_[g]++] = local;
      }
    }
  }

  uint16_t* bounds_of(long i, long begin) {
    return problem_.bounds ? problem_.bounds + i * problem_.stride
                           : own_bounds_.data() + (i - begin) * problem_.stride;
  }

  // A distance in units of two steps, rounded up: bounds at or above it settle a group.
  static uint16_t units(float radius) {
    return static_cast<uint16_t>(std::min(radius * 0.5f + 1.0f, 65535.0f));
  }

  void place(Point& point, long i) {
    constexpr int kCoordinates = 2 * kMaxPairs;
    point.row = problem_.points + i * centers_.width;
    const float scale = 1.0f / centers_.step;
    alignas(64) float exact[kCoordinates + 64] = {};
    float tail = 0;
    const int whole = std::min(centers_.leading, kCoordinates);
    std::copy(point.row, point.row + whole, exact);
    if (whole < centers_.width && whole < 2 * centers_.pairs) {
      for (int j = whole; j < centers_.width; ++j) tail += point.row[j] * point.row[j];
      exact[whole] = std::sqrt(tail);
    }
    const vf limit = splat(static_cast<float>(kLatticeMax));
    const vf magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
    vf errors = {};
    vi norms = {};
    alignas(64) int32_t lattice[kCoordinates + 64];
    for (int j = 0; j < 2 * centers_.pairs; j += kLanes) {
      const vf value = load(exact + j) * scale;
      const vf rounded = (min(max(value, -limit), limit) + magic) - magic;
      errors = fma(value - rounded, value - rounded, errors);
      const vi whole_number = __builtin_convertvector(rounded, vi);
      norms += whole_number * whole_number;
      std::memcpy(lattice + j, &whole_number, sizeof(vi));
    }
    for (int p = 0; p < centers_.pairs; ++p)
      point.pairs[p] = (lattice[2 * p] & 0xffff) | lattice[2 * p + 1] << 16;
    int64_t norm = 0;
    for (int l = 0; l < kLanes; ++l) norm += norms[l];
    point.norm = static_cast<double>(norm);
    point.slack = std::sqrt(sum(errors)) * (1 + kRelative) +
                  kRelative * std::sqrt(static_cast<float>(norm));
    point.best = -1;
    point.cost = std::numeric_limits<float>::infinity();
    point.radius = std::numeric_limits<float>::infinity();
    if (problem_.positions[i] >= 0) measure(point, problem_.positions[i]);
  }

  // Takes the center at `position` if it is nearer, or as near with a lower number.
  void measure(Point& point, int32_t position) {

    const float cost =
        squared_distance(point.row, centers_.rows + static_cast<long>(position) * centers_.width,
                         centers_.width);
    if (point.best >= 0 &&
        (cost > point.cost ||
         (cost == point.cost && centers_.ids[position] >= centers_.ids[point.best])))
      return;
    point.best = position;
    point.cost = cost;
    point.radius = std::sqrt(cost) / centers_.step * (1 + kRelative);
  }

  float lattice_distance(const Point& point, int32_t q) const {
    return static_cast<float>(std::sqrt(std::max(0.0, point.norm - 2.0 * q - 1.0)));
  }

  static uint16_t floor_units(float distance) {
    return static_cast<uint16_t>(std::min(std::max(distance * 0.5f, 0.0f), 65535.0f));
  }

  // Scores of a group; measures every center that can be as near as the best. Returns the bound.
  uint16_t scan(Point& point, long g) {
    ++scanned_;

    kernel_(point.pairs, centers_.tiles + g * centers_.pairs * 2 * kGroup,
            centers_.half_norms + g * kGroup, scores_);
    const float slack = point.slack + centers_.slack[g];
    const int32_t needed = threshold(point, slack);
    if (scores_.top >= needed) measure_lanes(point, g, slack, needed);
    return floor_units(lattice_distance(point, scores_.top) * (1 - kRelative) - slack);
  }

  // Measures the lanes of a scanned group that can be as near as the best, the likeliest first.
  void measure_lanes(Point& point, long g, float slack, int32_t needed) {
    const int32_t first = static_cast<int32_t>(g * kGroup);
    uint64_t lanes = scores_.at_least(scores_.top);
    const uint64_t top = lanes & -lanes;
    if (centers_.ids[first + __builtin_ctzll(top)] >= 0) {
      measure(point, first + __builtin_ctzll(top));
      needed = threshold(point, slack);
    }
    for (lanes = scores_.at_least(needed) & ~top; lanes; lanes &= lanes - 1) {
      const int32_t lane = __builtin_ctzll(lanes);
      if (scores_.q[lane] < needed || centers_.ids[first + lane] < 0) continue;
      measure(point, first + lane);
      needed = threshold(point, slack);
    }
  }

  // The least score of a center that may lie within the point's radius.
  int32_t threshold(const Point& point, float slack) const {
    const double reach = static_cast<double>(point.radius) + slack;
    const double needed = 0.5 * (point.norm - reach * reach) - 1.0;
    return needed < -2147483647.0 ? std::numeric_limits<int32_t>::min() + 1
                                  : static_cast<int32_t>(std::min(needed, 2147483646.0));
  }

  // Bounds from the distances to the groups' hubs; a point without a center gets a first one.
  void bound_by_hubs(Point& point, uint16_t* bounds) {
    long nearest = 0;
    float nearest_distance = std::numeric_limits<float>::infinity();
    for (long tile = 0; tile * kGroup < centers_.num_groups; ++tile) {
      kernel_(point.pairs, centers_.hub_tiles + tile * centers_.pairs * 2 * kGroup,
            centers_.hub_norms + tile * kGroup, scores_);
      const long count = std::min<long>(kGroup, centers_.num_groups - tile * kGroup);
      float distances[kGroup];
      for (int lane = 0; lane < kGroup; ++lane)
        distances[lane] = lattice_distance(point, scores_.q[lane]);
      const float* reach = centers_.reach + tile * kGroup;
      uint16_t* out = bounds + tile * kGroup;
      for (long lane = 0; lane < count; ++lane)
        out[lane] = floor_units(distances[lane] * (1 - kRelative) - point.slack - reach[lane]);
      const float* closest = std::min_element(distances, distances + count);
      if (*closest < nearest_distance) {
        nearest_distance = *closest;
        nearest = tile * kGroup + (closest - distances);
      }
    }
    for (long g = centers_.num_groups; g < problem_.stride; ++g) bounds[g] = 65535;
    if (point.best >= 0) return;
    kernel_(point.pairs, centers_.tiles + nearest * centers_.pairs * 2 * kGroup,
            centers_.half_norms + nearest * kGroup, scores_);
    const int lane = __builtin_ctzll(scores_.at_least(scores_.top));
    measure(point, static_cast<int32_t>(nearest * kGroup + lane));
  }

  const CenterGroups& centers_;
  const SearchProblem& problem_;
  const ScoreKernel kernel_;
  std::vector<Point> points_;
  std::vector<uint8_t> lists_;  // [groups, kBatch]: points of the batch to scan with each group
  std::vector<int> lengths_;
  std::vector<uint16_t> own_bounds_;
  Scores scores_;
  long scanned_ = 0;
};

}  // namespace

void search_nearest(const CenterGroups& centers, const SearchProblem& problem, long begin, long end,
                    long* scanned) {
  *scanned = Search(centers, problem).run(begin, end);
}

// Adds the weighted rows order[begin, end) to `sum`, in that order.
void add_rows(const float* points, const float* weights, const int64_t* order, long begin, long end,
              int width, double* sum, double* weight) {
  for (long k = begin; k < end; ++k) {
    const float* row = points + order[k] * width;
    const double w = weights ? weights[order[k]] : 1.0;
    *weight += w;
    for (int j = 0; j < width; ++j) sum[j] += w * row[j];
  }
}

}  // namespace fieldwright::ISA
