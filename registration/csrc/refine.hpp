// Generalized ICP with a robust kernel on a grid of nearest points, and the score of poses.
#pragma once
#include <cstdint>

#include "grid.hpp"

namespace fieldwright {

// x_target = scale * r x_source + t, row by row.
struct Placement {
  double r[9], t[3], scale;
};

struct Cloud {
  const float* points;   // [n, 3]
  const float* normals;  // [n, 3], zero where unknown
  long count;
};

// Normal equations of (rotation, translation, log scale): H, b, weighted cost, pairs, weights.
struct Equations {
  double h[28] = {}, b[7] = {};
  double cost = 0, pairs = 0, weights = 0;
  void add(const Equations& other);
};

struct Gates {
  float reach;  // pairs farther apart do not count
  float width;  // distance from the surface at which the kernel gives a quarter
};

// Refines `placement` in place by one Gauss-Newton step per gate, on both threads; returns the last
// equations. `source` null unless target points shall also look for source points.
Equations refine(const Cloud& cloud, const NearestGrid& target, const Cloud* backward,
                 const NearestGrid* source, const Gates* gates, int steps, bool with_scale,
                 double tolerance, Placement& placement);

#define FIELDWRIGHT_DECLARE(isa)                                                                  \
  namespace isa {                                                                                 \
  void add_pairs(const Cloud& cloud, const NearestGrid& grid, const Placement& placement,         \
                 const Gates& gates, bool backward, bool with_scale, long begin, long end,        \
                 Equations& sums);                                                                \
  void score_pose(const Cloud& cloud, const NearestGrid& grid, const Placement& placement,        \
                  float radius, float* score);                                                    \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
