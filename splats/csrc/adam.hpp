// Fused Adam step over the rows of several parameter groups, and the position noise of MCMC.
#pragma once
#include <cstdint>

namespace fieldwright {

// One parameter tensor of `rows` x `width` contiguous floats with its gradient and moments.
struct AdamGroup {
  float* parameter;
  const float* gradient;
  float* first_moment;
  float* second_moment;
  long width;
  float step_size;   // learning rate / (1 - beta1^t)
  float correction;  // 1 / sqrt(1 - beta2^t)
};

// Rounded from double, as 1 - beta2 in float would be off by 1e-5.
struct AdamSettings {
  float rest1;  // 1 - beta1
  float beta2;
  float rest2;  // 1 - beta2
  float epsilon;
};

// Position noise of Kheradmand et al. 2024, eq. 8-9, for rows of Gaussians.
struct NoiseProblem {
  float* means;                  // [rows, 3], changed in place
  const float* quats;            // [rows, 4], (w, x, y, z)
  const float* log_scales;       // [rows, 3]
  const float* logit_opacities;  // [rows]
  const float* normals;          // [rows, 3], standard normal
  float scale, steepness, threshold;
};

#define FIELDWRIGHT_DECLARE(isa)                                                              \
  namespace isa {                                                                             \
  void adam_rows(const AdamGroup& group, const AdamSettings& settings, const uint8_t* visible, \
                 long begin, long end);                                                       \
  void noise_rows(const NoiseProblem& problem, long begin, long end);                         \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
