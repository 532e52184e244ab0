// Run-time choice of the instruction set that the kernels use.
#pragma once
#include <string>

namespace fieldwright {

enum class Isa { portable, avx2, avx512 };

// The best set that was compiled in and that this CPU has; FIELDWRIGHT_ISA overrides it downwards.
Isa active_isa();
void set_isa(const std::string& name);  // "auto", "portable", "avx2" or "avx512"
std::string isa_name();

}  // namespace fieldwright

// FIELDWRIGHT_DISPATCH(kernel, arguments...) calls fieldwright::<isa>::kernel(arguments...).
#if HAVE_avx512
#define FIELDWRIGHT_DISPATCH(kernel, ...)                                       \
  do {                                                                          \
    switch (::fieldwright::active_isa()) {                                      \
      case ::fieldwright::Isa::avx512: ::fieldwright::avx512::kernel(__VA_ARGS__); break; \
      case ::fieldwright::Isa::avx2: ::fieldwright::avx2::kernel(__VA_ARGS__); break;     \
      default: ::fieldwright::portable::kernel(__VA_ARGS__);                    \
    }                                                                           \
  } while (false)
#else
#define FIELDWRIGHT_DISPATCH(kernel, ...) ::fieldwright::portable::kernel(__VA_ARGS__)
#endif
