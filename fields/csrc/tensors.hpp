// Tensor decompositions at scattered points: local CP products, and vector-matrix (VM) products.
#pragma once
#include <cstdint>

namespace fieldwright {

// Pairs of samples and local tensors. See fields/tensors/cp.py.
struct CpProblem {
  const float* vectors;      // [T, 3, L, R]; nodes at both faces of a tensor's cube
  const int64_t* offsets;    // [S + 1]: pairs of sample s are offsets[s] to offsets[s + 1]
  const int32_t* tensors;    // [P]
  const float* local;        // [P, 3] in [0, 1]
  const float* weights;      // [P]
  int nodes, rank;
  bool summed;               // one number per sample, else one per component
};

// Pairs sorted by tensor, for backward.
struct CpOrder {
  const int64_t* offsets;  // [T + 1]
  const int64_t* pairs;    // [P]
  const int32_t* samples;  // [P]: sample of each pair, in the order of the pairs
};

// Three orientations: a plane over two axes times a line over the third. See fields/tensors/vm.py.
struct VmProblem {
  const float* planes[3];  // [G_a, G_b, R]
  const float* lines[3];   // [G_c, R]
  const float* points;     // [S, 3] in [0, 1]
  int size[3];             // nodes along x, y, z, at both faces of the box
  int rank;
  bool summed;  // one number per sample, else 3 R
};

// Axes of the plane of orientation k, and of its line.
constexpr int kPlaneAxes[3][2] = {{0, 1}, {0, 2}, {1, 2}};
constexpr int kLineAxis[3] = {2, 1, 0};

#define FIELDWRIGHT_DECLARE(isa)                                                                 \
  namespace isa {                                                                                \
  void cp_samples(const CpProblem& problem, float* out, long begin, long end);                   \
  void cp_tensors(const CpProblem& problem, const CpOrder& order, const float* gradients,        \
                  float* out, long begin, long end);                                             \
  void vm_samples(const VmProblem& problem, float* out, long begin, long end);                   \
  /* Adds the gradients of the plane, or of the line, of orientation k by the samples in `list`. */ \
  void vm_plane(const VmProblem& problem, int k, const float* gradients, float* out,             \
                const int32_t* list, long count);                                                \
  void vm_line(const VmProblem& problem, int k, const float* gradients, float* out,              \
               const int32_t* list, long count);                                                 \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
