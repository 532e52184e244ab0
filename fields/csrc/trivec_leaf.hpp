// Evaluation inside one leaf, ranks eight at a time.
#pragma once
#include <algorithm>

#include "lookup.hpp"
#include "trivec.hpp"

namespace fieldwright::ISA {

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

}  // namespace fieldwright::ISA
