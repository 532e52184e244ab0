// Rows from quantized coefficients: an exact product of integers and one rounding.
#pragma once
#include <cstdint>

namespace fieldwright {

// All numbers are integers held as doubles whose sums stay below 2^53, so that order and fused
// multiplication change nothing; the caller checks the bound.
struct Reconstruction {
  int rank, dims;
  const double* matrix;     // [rank, dims] directions
  const double* shifts;     // [rank, 4] what magnitudes 0, 1, 2 and 3.. lie off their multiple
  double scale;             // of a magnitude of 1
  const double* mean;       // [dims]
  const double* codes;      // [.., dims], added by index; null for none
  double unit;              // what all these integers count
};

#define FIELDWRIGHT_DECLARE(isa)                                                             \
  namespace isa {                                                                            \
  void reconstruct(const Reconstruction& plan, const int32_t* values, const int64_t* indices, \
                   long rows, float* out);                                                   \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
