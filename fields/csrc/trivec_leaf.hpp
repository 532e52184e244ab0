// Evaluation inside one leaf, ranks eight at a time.
#pragma once
#include <algorithm>

#include "trivec.hpp"
#include "v8.hpp"

namespace fieldwright::ISA {

// Between which nodes a local coordinate lies, and where.
struct Cell {
  int node;
  float share;
  Cell(float x, int nodes) {
    const float at = x * static_cast<float>(nodes - 1);
    node = std::min(static_cast<int>(at), nodes - 2);
    share = at - static_cast<float>(node);
  }
};

inline float clamped(float x) { return std::min(std::max(x, 0.0f), 1.0f); }

// The 1-D lookups of one axis for n x 8 ranks.
template <int n>
inline void lookup(const float* axis, int rank, Cell cell, v8 (&out)[n]) {
  const float* a = axis + cell.node * rank;
  const v8 share = set8(cell.share);
  for (int i = 0; i < n; ++i) {
    const v8 left = load8(a + 8 * i);
    out[i] = fma8(share, load8(a + rank + 8 * i) - left, left);
  }
}

// Colour weights of each rank for a direction.
template <int n>
inline void directed(const TrivecModel& model, long leaf, const float* bases, v8 (&out)[3][n]) {
  const float* colors = model.colors + leaf * model.bases * 3 * model.rank;
  for (int c = 0; c < 3; ++c)
    for (int i = 0; i < n; ++i) {
      v8 sum = set8(0);
      for (int k = 0; k < model.bases; ++k)
        sum = fma8(set8(bases[k]), load8(colors + (3 * k + c) * model.rank + 8 * i), sum);
      out[c][i] = sum;
    }
}

inline bool occupied(uint64_t mask, float x, float y, float z) {
  const auto cell = [](float v) { return std::min(static_cast<int>(v * kMaskSide), kMaskSide - 1); };
  return mask >> (16 * cell(x) + 4 * cell(y) + cell(z)) & 1;
}

// Calls body.template operator()<n>() with n = ceil(rank / 8).
template <typename Body>
inline void by_rank(int rank, const Body& body) {
  switch ((rank + 7) / 8) {
    case 0:
    case 1: body.template operator()<1>(); break;
    case 2: body.template operator()<2>(); break;
    case 3: body.template operator()<3>(); break;
    default: body.template operator()<4>();
  }
}

}  // namespace fieldwright::ISA
