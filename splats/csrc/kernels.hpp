// Kernels that exist once per instruction set. Each file in CMakeLists' KERNELS defines its
// function in namespace fieldwright::ISA; dispatch.cpp picks the best set that the CPU has.
#pragma once
#include <cstdint>

#define FIELDWRIGHT_DECLARE_KERNELS(ISA)                                                        \
  namespace fieldwright::ISA {                                                                  \
  void ssim_l1(const struct SsimArgs& args);                                                    \
  void adam(const struct AdamArgs& args);                                                       \
  }

namespace fieldwright {
struct SsimArgs;
struct AdamArgs;
}  // namespace fieldwright
