// Pairs of nearest points and what they say about a pose.
#include <cmath>

#include "refine.hpp"

namespace fieldwright::ISA {
namespace {

constexpr float kFlat = 1e-3f;  // thickness of a surface patch relative to its extent, squared

struct Matrix {
  float r[9], t[3];
  explicit Matrix(const Placement& p) {
    for (int k = 0; k < 9; ++k) r[k] = static_cast<float>(p.scale * p.r[k]);
    for (int k = 0; k < 3; ++k) t[k] = static_cast<float>(p.t[k]);
  }
  void place(const float* p, float (&out)[3]) const {
    for (int a = 0; a < 3; ++a)
      out[a] = r[3 * a] * p[0] + r[3 * a + 1] * p[1] + r[3 * a + 2] * p[2] + t[a];
  }
};

inline void turn(const Placement& placement, const float* v, float (&out)[3]) {
  for (int a = 0; a < 3; ++a)
    out[a] = static_cast<float>(placement.r[3 * a] * v[0] + placement.r[3 * a + 1] * v[1] +
                                placement.r[3 * a + 2] * v[2]);
}

inline float dot(const float* a, const float* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

// Inverse of 2 I - (1 - kFlat) (n n^T + m m^T): the combined covariance of two flat patches.
inline void weight_matrix(const float* n, const float* m, float (&w)[6]) {
  constexpr float k = 1 - kFlat;
  const float a = 2 - k * (n[0] * n[0] + m[0] * m[0]), b = -k * (n[0] * n[1] + m[0] * m[1]);
  const float c = -k * (n[0] * n[2] + m[0] * m[2]), d = 2 - k * (n[1] * n[1] + m[1] * m[1]);
  const float e = -k * (n[1] * n[2] + m[1] * m[2]), f = 2 - k * (n[2] * n[2] + m[2] * m[2]);
  const float A = d * f - e * e, B = c * e - b * f, C = b * e - c * d;
  const float inverse = 1 / (a * A + b * B + c * C);
  w[0] = A * inverse, w[1] = B * inverse, w[2] = C * inverse;
  w[3] = (a * f - c * c) * inverse, w[4] = (b * c - a * e) * inverse;
  w[5] = (a * d - b * b) * inverse;
}

inline void times(const float (&w)[6], const float* v, float (&out)[3]) {
  out[0] = w[0] * v[0] + w[1] * v[1] + w[2] * v[2];
  out[1] = w[1] * v[0] + w[3] * v[1] + w[4] * v[2];
  out[2] = w[2] * v[0] + w[4] * v[1] + w[5] * v[2];
}

}  // namespace

// Residual e = q - (s R p + t); a step (omega, tau, sigma) changes it by
// [p'] omega - tau - sigma p' with p' = s R p + t.
// Reference: Segal, Haehnel and Thrun, "Generalized-ICP", RSS 2009, equation 2.
void add_pairs(const Cloud& cloud, const NearestGrid& grid, const Placement& placement,
               const Gates& gates, bool backward, bool with_scale, long begin, long end,
               Equations& sums) {
  Placement inverse;
  inverse.scale = 1 / placement.scale;
  for (int a = 0; a < 3; ++a) {
    inverse.t[a] = 0;
    for (int b = 0; b < 3; ++b) {
      inverse.r[3 * a + b] = placement.r[3 * b + a];
      inverse.t[a] -= inverse.scale * placement.r[3 * b + a] * placement.t[b];
    }
  }
  const Matrix forth(placement), back(inverse);
  const float reach = gates.reach * gates.reach, width = gates.width * gates.width;
  const int size = with_scale ? 7 : 6;
  for (long i = begin; i < end; ++i) {
    const float* own = cloud.points + 3 * i;
    float placed[3];
    (backward ? back : forth).place(own, placed);
    const int32_t other = grid.find(placed);
    if (other < 0) continue;
    const float* found = grid.points() + 3l * other;
    const float *p = backward ? found : own, *q = backward ? own : found;
    const float* np = backward ? grid.normals() + 3l * other : cloud.normals + 3 * i;
    const float* nq = backward ? cloud.normals + 3 * i : grid.normals() + 3l * other;
    if (backward) forth.place(p, placed);
    const float e[3] = {q[0] - placed[0], q[1] - placed[1], q[2] - placed[2]};
    if (!(dot(e, e) < reach)) continue;
    float m[3], w[6], we[3];
    turn(placement, np, m);
    weight_matrix(nq, m, w);
    times(w, e, we);
    const float squared = 2 * kFlat * dot(e, we);  // about the distance from the surface
    const float kernel = width / (width + squared);
    const float weight = kernel * kernel;
    const float* x = placed;
    const float jacobian[7][3] = {{0, x[2], -x[1]}, {-x[2], 0, x[0]}, {x[1], -x[0], 0},
                                  {-1, 0, 0},       {0, -1, 0},       {0, 0, -1},
                                  {-x[0], -x[1], -x[2]}};
    int k = 0;
    for (int a = 0; a < size; ++a) {
      float wj[3];
      times(w, jacobian[a], wj);
      for (int b = a; b < size; ++b) sums.h[k + b - a] += weight * dot(wj, jacobian[b]);
      k += 7 - a;
      sums.b[a] += weight * dot(jacobian[a], we);
    }
    sums.cost += width * squared / (width + squared);
    sums.pairs += 1;
    sums.weights += weight;
  }
}

// Sum over the points of (1 - d^2 / radius^2) |cos| of the angle between the normals.
void score_pose(const Cloud& cloud, const NearestGrid& grid, const Placement& placement,
                float radius, float* score) {
  const Matrix forth(placement);
  const float inverse = 1 / (radius * radius);
  float total = 0;
  for (long i = 0; i < cloud.count; ++i) {
    float placed[3], turned[3];
    forth.place(cloud.points + 3 * i, placed);
    const int32_t other = grid.find(placed);
    if (other < 0) continue;
    const float* q = grid.points() + 3l * other;
    const float e[3] = {q[0] - placed[0], q[1] - placed[1], q[2] - placed[2]};
    const float near = 1 - dot(e, e) * inverse;
    if (near <= 0) continue;
    turn(placement, cloud.normals + 3 * i, turned);
    total += near * std::fabs(dot(turned, grid.normals() + 3l * other));
  }
  *score = total;
}

}  // namespace fieldwright::ISA
