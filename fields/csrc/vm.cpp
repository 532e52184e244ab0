// Vector-matrix products: a plane over two axes times a line over the third, in three orientations.
#include "lookup.hpp"
#include "tensors.hpp"

namespace fieldwright::ISA {
namespace {

constexpr int kBlocks = 6;  // at most 48 components per orientation

struct PlaneCell {
  Cell a, b;
  int columns;
  PlaneCell(const VmProblem& p, int k, const float* at)
      : a(clamped(at[kPlaneAxes[k][0]]), p.size[kPlaneAxes[k][0]]),
        b(clamped(at[kPlaneAxes[k][1]]), p.size[kPlaneAxes[k][1]]),
        columns(p.size[kPlaneAxes[k][1]]) {}
};

inline Cell line_cell(const VmProblem& p, int k, const float* at) {
  return Cell(clamped(at[kLineAxis[k]]), p.size[kLineAxis[k]]);
}

template <int n>
inline void plane_lookup(const VmProblem& p, int k, const PlaneCell& cell, v8 (&out)[n]) {
  const float* row = p.planes[k] + static_cast<long>(cell.a.node) * cell.columns * p.rank;
  v8 upper[n];
  lookup<n>(row, p.rank, cell.b, out);
  lookup<n>(row + static_cast<long>(cell.columns) * p.rank, p.rank, cell.b, upper);
  const v8 share = set8(cell.a.share);
  for (int i = 0; i < n; ++i) out[i] = fma8(share, upper[i] - out[i], out[i]);
}

template <int n>
void samples(const VmProblem& p, float* out, long begin, long end) {
  for (long s = begin; s < end; ++s) {
    const float* at = p.points + 3 * s;
    v8 sum = set8(0);
    for (int k = 0; k < 3; ++k) {
      v8 plane[n], line[n];
      plane_lookup<n>(p, k, PlaneCell(p, k, at), plane);
      lookup<n>(p.lines[k], p.rank, line_cell(p, k, at), line);
      for (int i = 0; i < n; ++i) {
        if (p.summed)
          sum = fma8(plane[i], line[i], sum);
        else
          store8(out + (3 * s + k) * p.rank + 8 * i, plane[i] * line[i]);
      }
    }
    if (p.summed) out[s] = sum8(sum);
  }
}

template <int n>
inline void given_gradient(const VmProblem& p, int k, const float* gradients, long s,
                           v8 (&out)[n]) {
  for (int i = 0; i < n; ++i)
    out[i] = p.summed ? set8(gradients[s]) : load8(gradients + (3 * s + k) * p.rank + 8 * i);
}

template <int n>
void plane(const VmProblem& p, int k, const float* gradients, float* out, const int32_t* list,
           long count) {
  for (long j = 0; j < count; ++j) {
    const long s = list[j];
    const float* at = p.points + 3 * s;
    const PlaneCell cell(p, k, at);
    v8 given[n], line[n], lower[n];
    given_gradient<n>(p, k, gradients, s, given);
    lookup<n>(p.lines[k], p.rank, line_cell(p, k, at), line);
    const v8 share = set8(cell.a.share);
    for (int i = 0; i < n; ++i) {
      const v8 both = given[i] * line[i];
      given[i] = share * both;
      lower[i] = both - given[i];
    }
    float* row = out + static_cast<long>(cell.a.node) * cell.columns * p.rank;
    scatter<n>(row, p.rank, cell.b, lower);
    scatter<n>(row + static_cast<long>(cell.columns) * p.rank, p.rank, cell.b, given);
  }
}

template <int n>
void line(const VmProblem& p, int k, const float* gradients, float* out, const int32_t* list,
          long count) {
  for (long j = 0; j < count; ++j) {
    const long s = list[j];
    const float* at = p.points + 3 * s;
    v8 given[n], value[n];
    given_gradient<n>(p, k, gradients, s, given);
    plane_lookup<n>(p, k, PlaneCell(p, k, at), value);
    for (int i = 0; i < n; ++i) value[i] = value[i] * given[i];
    scatter<n>(out, p.rank, line_cell(p, k, at), value);
  }
}

}  // namespace

void vm_samples(const VmProblem& p, float* out, long begin, long end) {
  by_rank<kBlocks>(p.rank, [&]<int n>() { samples<n>(p, out, begin, end); });
}

void vm_plane(const VmProblem& p, int k, const float* gradients, float* out, const int32_t* list,
              long count) {
  by_rank<kBlocks>(p.rank, [&]<int n>() { plane<n>(p, k, gradients, out, list, count); });
}

void vm_line(const VmProblem& p, int k, const float* gradients, float* out, const int32_t* list,
             long count) {
  by_rank<kBlocks>(p.rank, [&]<int n>() { line<n>(p, k, gradients, out, list, count); });
}

}  // namespace fieldwright::ISA
