// Local CP tensors: products of three interpolated vectors, weighted and summed over the tensors
// that cover a sample. Forward goes sample by sample; backward tensor by tensor, each by one thread
// and in the order of the pairs, so that results do not depend on the number of threads.
#include "lookup.hpp"
#include "tensors.hpp"

namespace fieldwright::ISA {
namespace {

constexpr int kBlocks = 6;  // at most 48 components

struct Axes {
  const float *x, *y, *z;
  Axes(const CpProblem& p, long tensor)
      : x(p.vectors + tensor * 3 * p.nodes * p.rank),
        y(x + p.nodes * p.rank),
        z(y + p.nodes * p.rank) {}
};

template <int n>
void samples(const CpProblem& p, float* out, long begin, long end) {
  for (long s = begin; s < end; ++s) {
    v8 total[n] = {};
    for (long i = p.offsets[s]; i < p.offsets[s + 1]; ++i) {
      const Axes axes(p, p.tensors[i]);
      const float* at = p.local + 3 * i;
      v8 x[n], y[n], z[n];
      lookup<n>(axes.x, p.rank, Cell(clamped(at[0]), p.nodes), x);
      lookup<n>(axes.y, p.rank, Cell(clamped(at[1]), p.nodes), y);
      lookup<n>(axes.z, p.rank, Cell(clamped(at[2]), p.nodes), z);
      const v8 weight = set8(p.weights[i]);
      for (int r = 0; r < n; ++r) total[r] = fma8(weight * x[r], y[r] * z[r], total[r]);
    }
    if (p.summed) {
      v8 sum = total[0];
      for (int r = 1; r < n; ++r) sum += total[r];
      out[s] = sum8(sum);
    } else {
      for (int r = 0; r < n; ++r) store8(out + s * p.rank + 8 * r, total[r]);
    }
  }
}

template <int n>
void tensors(const CpProblem& p, const CpOrder& order, const float* gradients, float* out,
             long begin, long end) {
  const long size = 3L * p.nodes * p.rank;
  for (long t = begin; t < end; ++t) {
    const Axes axes(p, t);
    float *gx = out + t * size, *gy = gx + p.nodes * p.rank, *gz = gy + p.nodes * p.rank;
    std::fill(gx, gx + size, 0.0f);
    for (long i = order.offsets[t]; i < order.offsets[t + 1]; ++i) {
      const long pair = order.pairs[i], s = order.samples[pair];
      const float* at = p.local + 3 * pair;
      const Cell u(clamped(at[0]), p.nodes), v(clamped(at[1]), p.nodes), w(clamped(at[2]), p.nodes);
      v8 x[n], y[n], z[n], for_x[n], for_y[n], for_z[n];
      lookup<n>(axes.x, p.rank, u, x);
      lookup<n>(axes.y, p.rank, v, y);
      lookup<n>(axes.z, p.rank, w, z);
      const v8 weight = set8(p.weights[pair]);
      for (int r = 0; r < n; ++r) {
        const v8 given =
            weight * (p.summed ? set8(gradients[s]) : load8(gradients + s * p.rank + 8 * r));
        for_x[r] = given * y[r] * z[r];
        const v8 with_x = given * x[r];
        for_y[r] = with_x * z[r];
        for_z[r] = with_x * y[r];
      }
      scatter<n>(gx, p.rank, u, for_x);
      scatter<n>(gy, p.rank, v, for_y);
      scatter<n>(gz, p.rank, w, for_z);
    }
  }
}

}  // namespace

void cp_samples(const CpProblem& p, float* out, long begin, long end) {
  by_rank<kBlocks>(p.rank, [&]<int n>() { samples<n>(p, out, begin, end); });
}

void cp_tensors(const CpProblem& p, const CpOrder& order, const float* gradients, float* out,
                long begin, long end) {
  by_rank<kBlocks>(p.rank,
                   [&]<int n>() { tensors<n>(p, order, gradients, out, begin, end); });
}

}  // namespace fieldwright::ISA
