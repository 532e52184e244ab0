// Single points and lattices of tri-vector leaves.
#include "trivec_leaf.hpp"

namespace fieldwright::ISA {
namespace {

struct Axes {
  const float *x, *y, *z, *density;
  Axes(const TrivecModel& m, long leaf)
      : x(m.vectors + leaf * 3 * m.nodes * m.rank),
        y(x + m.nodes * m.rank),
        z(y + m.nodes * m.rank),
        density(m.densities + leaf * m.rank) {}
};

template <int n>
void point(const TrivecModel& model, long leaf, const float* at, const v8 (&colors)[3][n],
           float (&out)[4]) {
  const Axes axes(model, leaf);
  v8 x[n], y[n], z[n], sums[4] = {};
  lookup<n>(axes.x, model.rank, Cell(clamped(at[0]), model.nodes), x);
  lookup<n>(axes.y, model.rank, Cell(clamped(at[1]), model.nodes), y);
  lookup<n>(axes.z, model.rank, Cell(clamped(at[2]), model.nodes), z);
  for (int i = 0; i < n; ++i) {
    const v8 product = x[i] * y[i] * z[i];
    sums[0] = fma8(product, load8(axes.density + 8 * i), sums[0]);
    for (int c = 0; c < 3; ++c) sums[c + 1] = fma8(product, colors[c][i], sums[c + 1]);
  }
  sums4(sums[0], sums[1], sums[2], sums[3], out);
}

}  // namespace

void trivec_points(const TrivecModel& model, const int32_t* leaves, const float* local,
                   const float* bases, float* densities, float* colors, long begin, long end) {
  for (long i = begin; i < end; i += 8) {
    float features[4][8] = {};
    const long count = std::min<long>(8, end - i);
    for (long j = 0; j < count; ++j) {
      const long leaf = leaves[i + j];
      if (leaf < 0) continue;
      by_rank<4>(model.ranks[leaf], [&]<int n>() {
        v8 weights[3][n];
        directed<n>(model, leaf, bases + (i + j) * model.bases, weights);
        float out[4];
        point<n>(model, leaf, local + 3 * (i + j), weights, out);
        for (int c = 0; c < 4; ++c) features[c][j] = out[c];
      });
    }
    const v8 density =
        log1p8(exp8(load8(features[0]) + set8(model.shift))) * set8(model.inverse_unit);
    for (int c = 1; c < 4; ++c)
      store8(features[c], set8(1.0f) / (set8(1.0f) + exp8(-load8(features[c]))));
    for (long j = 0; j < count; ++j) {
      densities[i + j] = leaves[i + j] < 0 ? 0.0f : density[j];
      for (int c = 0; c < 3; ++c) colors[3 * (i + j) + c] = features[c + 1][j];
    }
  }
}

void trivec_lattice(const TrivecModel& model, int side, float* densities, long begin, long end) {
  const float scale = 1.0f / static_cast<float>(side - 1);
  const int cells = side * side * side;
  for (long leaf = begin; leaf < end; ++leaf) {
    float* out = densities + leaf * cells;
    by_rank<4>(model.ranks[leaf], [&]<int n>() {
      const Axes axes(model, leaf);
      for (int i = 0; i < side; ++i) {
        v8 x[n], y[n], z[n];
        lookup<n>(axes.x, model.rank, Cell(clamped(scale * i), model.nodes), x);
        for (int a = 0; a < n; ++a) x[a] = x[a] * load8(axes.density + 8 * a);
        for (int j = 0; j < side; ++j) {
          lookup<n>(axes.y, model.rank, Cell(clamped(scale * j), model.nodes), y);
          for (int a = 0; a < n; ++a) y[a] = x[a] * y[a];
          for (int k = 0; k < side; ++k) {
            lookup<n>(axes.z, model.rank, Cell(clamped(scale * k), model.nodes), z);
            v8 sum = set8(0);
            for (int a = 0; a < n; ++a) sum = fma8(y[a], z[a], sum);
            *out++ = sum8(sum);
          }
        }
      }
    });
    out = densities + leaf * cells;
    for (int i = 0; i < cells; ++i) {
      // One lane is enough: a lattice is looked at once in hundreds of steps.
      const v8 value = log1p8(exp8(set8(out[i] + model.shift))) * set8(model.inverse_unit);
      out[i] = value[0];
    }
  }
}

}  // namespace fieldwright::ISA
