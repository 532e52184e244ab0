// Packed volume rendering: rays of consecutive samples.
#pragma once
#include <cstdint>

namespace fieldwright {

struct PackedSamples {
  const float* densities;  // [S]
  const float* colors;     // [S, 3]
  const float* starts;     // [S]
  const float* ends;       // [S]
  const int64_t* offsets;  // [R + 1]
  float early_stop;
};

struct RayValues {
  float* colors;       // [R, 3]
  float* opacities;    // [R]
  float* distances;    // [R]
  float* medians;      // [R]
  float* distortions;  // [R]
};

// Of the loss with respect to what `RayValues` holds but the medians.
struct RayGradients {
  const float *colors, *opacities, *distances, *distortions;
};

#define FIELDWRIGHT_DECLARE(isa)                                                                 \
  namespace isa {                                                                                \
  void composite_rays(const PackedSamples& samples, const RayValues& out, long begin, long end); \
  void composite_gradients(const PackedSamples& samples, const RayGradients& given,              \
                           float* densities, float* colors, long begin, long end);               \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
