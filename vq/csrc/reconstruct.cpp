// Rows from quantized coefficients; numpy's path in vq/vectors/codec.py gives the same bits.
#include "reconstruct.hpp"

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace fieldwright::ISA {

void reconstruct(const Reconstruction& plan, const int32_t* values, const int64_t* indices,
                 long rows, float* out) {
  const int dims = plan.dims;
  std::vector<double> sums(dims);
  double* sum = sums.data();
  for (long i = 0; i < rows; ++i, values += plan.rank, out += dims) {
    if (plan.codes) {
      const double* code = plan.codes + indices[i] * dims;
      for (int k = 0; k < dims; ++k) sum[k] = plan.mean[k] + code[k];
    } else {
      std::copy(plan.mean, plan.mean + dims, sum);
    }
    for (int j = 0; j < plan.rank; ++j) {
      const int32_t value = values[j];
      if (value == 0) continue;
      const int32_t m = std::abs(value);
      const double size = m * plan.scale + plan.shifts[4 * j + std::min(m, 3)];
      const double signed_size = value < 0 ? -size : size;
      const double* direction = plan.matrix + static_cast<long>(j) * dims;
      for (int k = 0; k < dims; ++k) sum[k] += signed_size * direction[k];
    }
    for (int k = 0; k < dims; ++k) out[k] = static_cast<float>(sum[k] * plan.unit);
  }
}

}  // namespace fieldwright::ISA
