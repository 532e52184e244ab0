// Local shape from neighborhoods: normals and point-feature histograms.
#pragma once
#include <cstdint>

namespace fieldwright {

// Neighbors of every point, lists one after another.
struct Neighborhoods {
  const float* points;      // [n, 3]
  const int64_t* offsets;   // [n + 1]
  const int32_t* indices;   // [offsets[n]], the point itself included
  const float* squared;     // [offsets[n]] squared distances
};

constexpr int kBins = 11;
constexpr int kHistogram = 3 * kBins;

#define FIELDWRIGHT_DECLARE(isa)                                                                 \
  namespace isa {                                                                                \
  void local_normals(const Neighborhoods& lists, long begin, long end, float squared_radius,     \
                     float* normals);                                                            \
  void simple_histograms(const Neighborhoods& lists, const float* normals, long begin, long end, \
                         float* histograms);                                                     \
  void pooled_histograms(const Neighborhoods& lists, const float* simple, long begin, long end,  \
                         float* histograms);                                                     \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
