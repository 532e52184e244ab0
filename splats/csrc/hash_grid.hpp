// Multi-resolution hash grid: trilinear features of points in the unit cube, and their gradients.
// Mueller et al., "Instant Neural Graphics Primitives", 2022, eq. 2-4.
#pragma once
#include <cstdint>
#include <vector>

namespace fieldwright {

struct GridLevel {
  long offset;      // first of its entries in the table
  int resolution;   // cells along an axis
  uint32_t size;    // entries; a power of two where hashed
  bool hashed;      // else entries are the vertices, x fastest
};

struct HashGridProblem {
  const float* points;            // [N, 3], clamped to [0, 1]
  const float* table;             // [entries, F]
  long N;
  int F;                          // 1, 2, 4 or 8
  std::vector<GridLevel> levels;  // L of them
};

// Part `slice` of `slices` equal parts of the entries of the levels owner, owner + owners, ...
struct GridShare {
  int owner, owners, slice, slices;
};

#define FIELDWRIGHT_DECLARE(isa)                                                                \
  namespace isa {                                                                               \
  /* Writes rows [begin, end) of features [N, L, F]. */                                         \
  void hash_grid_rows(const HashGridProblem& problem, float* features, long begin, long end);   \
  /* Adds the gradient of the entries of a share, each in the order of the points. */           \
  void hash_grid_table_gradient(const HashGridProblem& problem, const float* v_features,        \
                                float* v_table, const GridShare& share);                        \
  /* Writes rows [begin, end) of the gradient of the points. */                                 \
  void hash_grid_point_gradient(const HashGridProblem& problem, const float* v_features,        \
                                float* v_points, long begin, long end);                         \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
