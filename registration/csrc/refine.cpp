#include "refine.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "dispatch.hpp"
#include "thread_pool.hpp"

namespace fieldwright {
namespace {

// Solves h x = -b for a positive semidefinite h (upper triangle in rows of 7); directions without
// information stay 0.
bool solve(const Equations& sums, int size, double (&x)[7]) {
  double l[7][7] = {}, d[7];
  double h[7][7];
  int k = 0;
  for (int a = 0; a < 7; ++a)
    for (int b = a; b < 7; ++b, ++k) h[a][b] = h[b][a] = sums.h[k];
  for (int a = 0; a < size; ++a) {
    double value = h[a][a] * (1 + 1e-9);
    for (int c = 0; c < a; ++c) value -= l[a][c] * l[a][c] * d[c];
    d[a] = value;
    if (!(value > 1e-10 * h[a][a])) return false;
    l[a][a] = 1;
    for (int b = a + 1; b < size; ++b) {
      double entry = h[b][a];
      for (int c = 0; c < a; ++c) entry -= l[b][c] * l[a][c] * d[c];
      l[b][a] = entry / value;
    }
  }
  for (int a = 0; a < size; ++a) {
    x[a] = -sums.b[a];
    for (int c = 0; c < a; ++c) x[a] -= l[a][c] * x[c];
  }
  for (int a = 0; a < size; ++a) x[a] /= d[a];
  for (int a = size - 1; a >= 0; --a)
    for (int c = a + 1; c < size; ++c) x[a] -= l[c][a] * x[c];
  return true;
}

void rotation_of(const double* omega, double (&r)[9]) {
  const double angle = std::sqrt(omega[0] * omega[0] + omega[1] * omega[1] + omega[2] * omega[2]);
  const double half = angle / 2;
  const double s = angle > 1e-12 ? std::sin(half) / angle : 0.5;
  const double w = std::cos(half), x = s * omega[0], y = s * omega[1], z = s * omega[2];
  r[0] = 1 - 2 * (y * y + z * z), r[1] = 2 * (x * y - w * z), r[2] = 2 * (x * z + w * y);
  r[3] = 2 * (x * y + w * z), r[4] = 1 - 2 * (x * x + z * z), r[5] = 2 * (y * z - w * x);
  r[6] = 2 * (x * z - w * y), r[7] = 2 * (y * z + w * x), r[8] = 1 - 2 * (x * x + y * y);
}

void apply_step(const double (&x)[7], bool with_scale, Placement& placement) {
  double turn[9], r[9], t[3];
  rotation_of(x, turn);
  const double factor = with_scale ? std::exp(x[6]) : 1;
  for (int a = 0; a < 3; ++a) {
    t[a] = x[3 + a];
    for (int c = 0; c < 3; ++c) t[a] += factor * turn[3 * a + c] * placement.t[c];
    for (int b = 0; b < 3; ++b) {
      r[3 * a + b] = 0;
      for (int c = 0; c < 3; ++c) r[3 * a + b] += turn[3 * a + c] * placement.r[3 * c + b];
    }
  }
  std::copy(r, r + 9, placement.r);
  std::copy(t, t + 3, placement.t);
  placement.scale *= factor;
}

Equations gather(const Cloud& cloud, const NearestGrid& grid, const Placement& placement,
                 const Gates& gates, bool backward, bool with_scale) {
  std::vector<Equations> parts(kMaxRanges);
  parallel_ranges(cloud.count, 512, [&](long begin, long end, int range) {
    FIELDWRIGHT_DISPATCH(add_pairs, cloud, grid, placement, gates, backward, with_scale, begin,
                         end, parts[range]);
  });
  Equations sums;
  for (const auto& part : parts) sums.add(part);
  return sums;
}

}  // namespace

void Equations::add(const Equations& other) {
  for (int i = 0; i < 28; ++i) h[i] += other.h[i];
  for (int i = 0; i < 7; ++i) b[i] += other.b[i];
  cost += other.cost;
  pairs += other.pairs;
  weights += other.weights;
}

Equations refine(const Cloud& cloud, const NearestGrid& target, const Cloud* backward,
                 const NearestGrid* source, const Gates* gates, int steps, bool with_scale,
                 double tolerance, Placement& placement) {
  Equations sums;
  for (int step = 0; step < steps; ++step) {
    sums = gather(cloud, target, placement, gates[step], false, with_scale);
    if (source) sums.add(gather(*backward, *source, placement, gates[step], true, with_scale));
    double x[7] = {};
    if (sums.pairs < 6 || !solve(sums, with_scale ? 7 : 6, x)) break;
    // A first step from far away may overshoot: half a radian and a fifth of the scale at most.
    const double angle = std::sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
    const double excess = std::max(angle / 0.5, std::fabs(x[6]) / 0.2);
    if (excess > 1)
      for (double& value : x) value /= excess;
    apply_step(x, with_scale, placement);
    const double shift = std::sqrt(x[3] * x[3] + x[4] * x[4] + x[5] * x[5]);
    const bool last_gate = gates[step].width == gates[steps - 1].width;
    if (last_gate && angle < tolerance && shift < tolerance * gates[step].width * 10 &&
        std::fabs(x[6]) < tolerance)
      break;
  }
  return sums;
}

}  // namespace fieldwright
