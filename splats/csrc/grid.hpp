// Gaussians as a file's grids hold them, in the frame of training (splats/compact/grid.py).
#pragma once
#include <vector>

#include "grading.hpp"

namespace fieldwright {

// What is rounded, float32 with rows one after the other: means, quaternions, log scales,
// logit opacities and colors.
enum GridAttribute { kMeans, kQuats, kLogScales, kOpacities, kColors, kGridAttributes };
inline constexpr long kGridWidths[kGridAttributes] = {3, 4, 3, 1, 3};

struct GridProblem {
  const float* values[kGridAttributes];
  float* rounded[kGridAttributes];
  const double* to_file;  // [3, 4], of means
  const double* back;     // [3, 4], its inverse
  const double* turn;     // [4, 4], of quaternions to the file; orthogonal
  double shift;           // of log scales to the file
  double units[kGridAttributes];  // what integers are multiples of, quaternions as x/w, y/w, z/w
  const std::vector<GradingRule>& rules;  // of log scales, opacity, colors and rotations
};

#define FIELDWRIGHT_DECLARE(isa) \
  namespace isa {                \
  void round_rows(const GridProblem& problem, long begin, long end); \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
