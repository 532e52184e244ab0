#include "consensus.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "linalg.hpp"
#include "simd.hpp"

namespace fieldwright::ISA {
namespace {

constexpr int kRefits = 4;

inline int common(const uint64_t* a, const uint64_t* b, long words) {
  int total = 0;
  for (long w = 0; w < words; ++w) total += __builtin_popcountll(a[w] & b[w]);
  return total;
}

struct Member {
  int score;
  int32_t index;
  bool operator<(const Member& other) const {
    return score != other.score ? score > other.score : index < other.index;
  }
};

struct Sums {
  double weight = 0, source[3] = {}, target[3] = {}, products[3][3] = {};

  void add(const Correspondences& set, long i, double w) {
    double s[3], t[3];
    for (int a = 0; a < 3; ++a) {
      s[a] = set.source[a * set.padded + i];
      t[a] = set.target[a * set.padded + i];
      source[a] += w * s[a];
      target[a] += w * t[a];
    }
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b) products[a][b] += w * t[a] * s[b];
    weight += w;
  }

  void solve(Pose& pose) const {
    double h[3][3], r[3][3];
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b) h[a][b] = products[a][b] - target[a] * source[b] / weight;
    best_rotation(h, r);
    for (int a = 0; a < 3; ++a) {
      pose.t[a] = target[a] / weight;
      for (int b = 0; b < 3; ++b) {
        pose.r[3 * a + b] = r[a][b];
        pose.t[a] -= r[a][b] * source[b] / weight;
      }
    }
  }
};

// Squared residual of correspondences [i, i + kLanes).
inline vf residuals(const Correspondences& set, const float (&r)[9], const float (&t)[3], long i) {
  vf s[3], total = splat(0);
  for (int a = 0; a < 3; ++a) s[a] = load(set.source + a * set.padded + i);
  for (int a = 0; a < 3; ++a) {
    vf d = splat(t[a]) - load(set.target + a * set.padded + i);
    for (int b = 0; b < 3; ++b) d = fma(splat(r[3 * a + b]), s[b], d);
    total = fma(d, d, total);
  }
  return total;
}

}  // namespace

void link_compatible(const Correspondences& set, long begin, long end, int32_t* degrees) {
  const float *s = set.source, *t = set.target;
  const long n = set.padded;
  for (long i = begin; i < end; ++i) {
    uint64_t* row = set.graph + i * set.words;
    int degree = 0;
    for (long w = 0; w < set.words; ++w) {
      uint64_t bits = 0;
      for (int part = 0; part < 64 / kLanes; ++part) {
        const long j = 64 * w + part * kLanes;
        vf a = splat(0), b = splat(0);
        for (int axis = 0; axis < 3; ++axis) {
          const vf ds = load(s + axis * n + j) - splat(s[axis * n + i]);
          const vf dt = load(t + axis * n + j) - splat(t[axis * n + i]);
          a = fma(ds, ds, a);
          b = fma(dt, dt, b);
        }
        a = sqrt(a), b = sqrt(b);
        const vf change = max(a - b, b - a);
        const mask kept =
            both(gt(splat(set.bound), change), gt(min(a, b), splat(set.min_length)));
        float flags[kLanes];
        store(flags, zero_unless(kept, splat(1)));
        for (int lane = 0; lane < kLanes; ++lane)
          if (flags[lane] != 0) bits |= uint64_t{1} << (part * kLanes + lane);
      }
      const long left = set.count - 64 * w;
      if (left < 64) bits &= (uint64_t{1} << left) - 1;
      row[w] = bits;
      degree += __builtin_popcountll(bits);
    }
    degrees[i] = degree;
  }
}

// Sum over the neighbors j of i of the number of neighbors they share.
void second_order(const Correspondences& set, long begin, long end, int64_t* scores) {
  for (long i = begin; i < end; ++i) {
    const uint64_t* row = set.graph + i * set.words;
    int64_t total = 0;
    for (long w = 0; w < set.words; ++w)
      for (uint64_t bits = row[w]; bits; bits &= bits - 1) {
        const long j = 64 * w + __builtin_ctzll(bits);
        total += common(row, set.graph + j * set.words, set.words);
      }
    scores[i] = total;
  }
}

// The `members` neighbors of a seed that share most neighbors with it give a first pose, which is
// refitted to the correspondences within the bound with Geman-McClure weights of shrinking width
// (graduated non-convexity).
// Reference: Chen et al., "SC^2-PCR: a second order spatial compatibility for efficient and robust
// point cloud registration", CVPR 2022, equations 5 and 6.
void pose_from_seed(const Correspondences& set, long seed, int members, Pose& pose) {
  const uint64_t* row = set.graph + seed * set.words;
  std::unique_ptr<Member[]> list(new Member[set.count]);
  long size = 0;
  for (long w = 0; w < set.words; ++w)
    for (uint64_t bits = row[w]; bits; bits &= bits - 1) {
      const long j = 64 * w + __builtin_ctzll(bits);
      list[size++] = {common(row, set.graph + j * set.words, set.words), static_cast<int32_t>(j)};
    }
  pose.inliers = 0;
  if (size < 2) return;
  const long taken = std::min<long>(size, members);
  std::partial_sort(list.get(), list.get() + taken, list.get() + size);
  Sums sums;
  sums.add(set, seed, list[0].score + 1);
  for (long k = 0; k < taken; ++k) sums.add(set, list[k].index, list[k].score + 1e-3);
  sums.solve(pose);
  const float width = set.bound * set.bound;
  for (int refit = 0; refit <= kRefits; ++refit) {
    float r[9], t[3];
    for (int k = 0; k < 9; ++k) r[k] = static_cast<float>(pose.r[k]);
    for (int k = 0; k < 3; ++k) t[k] = static_cast<float>(pose.t[k]);
    const float reach = width * (refit < 2 ? 4 : 1);
    Sums next;
    double inliers = 0;
    for (long i = 0; i < set.count; i += kLanes) {
      float squared[kLanes];
      store(squared, residuals(set, r, t, i));
      for (int lane = 0; lane < kLanes && i + lane < set.count; ++lane) {
        if (squared[lane] >= reach) continue;
        const double q = 1 - squared[lane] / reach;
        if (squared[lane] < width) inliers += 1 - squared[lane] / width;
        if (refit < kRefits) next.add(set, i + lane, q * q);
      }
    }
    pose.inliers = inliers;
    if (refit == kRefits || next.weight < 2) return;
    next.solve(pose);
  }
}

}  // namespace fieldwright::ISA
