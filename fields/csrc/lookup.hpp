// Linear interpolation between nodes that hold ranks, eight at a time.
#pragma once
#include <algorithm>

#include "v8.hpp"

namespace fieldwright::ISA {

inline float clamped(float x) { return std::min(std::max(x, 0.0f), 1.0f); }

// Between which nodes a coordinate in [0, 1] lies, and where.
struct Cell {
  int node;
  float share;
  Cell(float x, int nodes) {
    const float at = x * static_cast<float>(nodes - 1);
    node = std::min(static_cast<int>(at), nodes - 2);
    share = at - static_cast<float>(node);
  }
};

// The values of n x 8 ranks.
template <int n>
inline void lookup(const float* axis, int rank, Cell cell, v8 (&out)[n]) {
  const float* a = axis + static_cast<long>(cell.node) * rank;
  const v8 share = set8(cell.share);
  for (int i = 0; i < n; ++i) {
    const v8 left = load8(a + 8 * i);
    out[i] = fma8(share, load8(a + rank + 8 * i) - left, left);
  }
}

inline void add8(float* p, v8 v) { store8(p, load8(p) + v); }

// Adds the gradient of a lookup to both nodes.
template <int n>
inline void scatter(float* axis, int rank, Cell cell, const v8 (&gradient)[n]) {
  float* a = axis + static_cast<long>(cell.node) * rank;
  const v8 share = set8(cell.share);
  for (int i = 0; i < n; ++i) {
    const v8 right = share * gradient[i];
    add8(a + 8 * i, gradient[i] - right);
    add8(a + rank + 8 * i, right);
  }
}

// Calls body.template operator()<n>() with n = ceil(rank / 8), at most `most`.
template <int most, typename Body>
inline void by_rank(int rank, const Body& body) {
  if constexpr (most > 1)
    if (rank <= 8 * (most - 1)) return by_rank<most - 1>(rank, body);
  body.template operator()<most>();
}

}  // namespace fieldwright::ISA
