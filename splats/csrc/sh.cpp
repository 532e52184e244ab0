// View-dependent colours from real spherical harmonics up to degree 4, and their gradient.
// Basis and signs as in splats/sh.py (Sloan 2013).
#include <algorithm>
#include <cstring>

#include "rasterizer.hpp"
#include "rows.hpp"
#include "thread_pool.hpp"

namespace fieldwright::ISA {
namespace {

constexpr long kGrain = 2048;
constexpr int kMaxBases = 25;

constexpr float C0 = 0.28209479177387814f;
constexpr float C1 = 0.4886025119029199f;
constexpr float C2a = 1.0925484305920792f, C2b = 0.31539156525252005f;
constexpr float C3a = 0.5900435899266435f, C3b = 2.890611442640554f, C3c = 0.4570457994644658f,
                C3d = 0.3731763325901154f;
constexpr float C4a = 2.5033429417967046f, C4b = 1.7701307697799304f, C4c = 0.9461746957575601f,
                C4d = 0.6690465435572892f, C4e = 0.10578554691520431f;

// Values of the basis functions at unit vectors.
inline void basis(int degree, vf x, vf y, vf z, vf* b) {
  b[0] = splat(C0);
  if (degree < 1) return;
  b[1] = -C1 * y, b[2] = C1 * z, b[3] = -C1 * x;
  if (degree < 2) return;
  const vf xx = x * x, yy = y * y, zz = z * z, xy = x * y;
  b[4] = C2a * xy, b[5] = -C2a * y * z, b[6] = C2b * (3.0f * zz - 1.0f);
  b[7] = -C2a * x * z, b[8] = 0.5f * C2a * (xx - yy);
  if (degree < 3) return;
  b[9] = -C3a * y * (3.0f * xx - yy), b[10] = C3b * xy * z;
  b[11] = -C3c * y * (5.0f * zz - 1.0f), b[12] = C3d * z * (5.0f * zz - 3.0f);
  b[13] = -C3c * x * (5.0f * zz - 1.0f), b[14] = 0.5f * C3b * z * (xx - yy);
  b[15] = -C3a * x * (xx - 3.0f * yy);
  if (degree < 4) return;
  b[16] = C4a * xy * (xx - yy), b[17] = -C4b * y * z * (3.0f * xx - yy);
  b[18] = C4c * xy * (7.0f * zz - 1.0f), b[19] = -C4d * y * z * (7.0f * zz - 3.0f);
  b[20] = C4e * (zz * (35.0f * zz - 30.0f) + 3.0f);
  b[21] = -C4d * x * z * (7.0f * zz - 3.0f), b[22] = 0.5f * C4c * (xx - yy) * (7.0f * zz - 1.0f);
  b[23] = -C4b * x * z * (xx - 3.0f * yy);
  b[24] = 0.25f * C4a * (xx * (xx - 3.0f * yy) - yy * (3.0f * xx - yy));
}

// Gradient of sum_k t[k] * basis_k with respect to (x, y, z), the polynomials taken off the sphere.
inline void basis_gradient(int degree, vf x, vf y, vf z, const vf* t, vf* g) {
  g[0] = g[1] = g[2] = splat(0.0f);
  if (degree < 1) return;
  g[0] = -C1 * t[3], g[1] = -C1 * t[1], g[2] = C1 * t[2];
  if (degree < 2) return;
  const vf xx = x * x, yy = y * y, zz = z * z, xy = x * y, xz = x * z, yz = y * z;
  g[0] += C2a * (y * t[4] - z * t[7] + x * t[8]);
  g[1] += C2a * (x * t[4] - z * t[5] - y * t[8]);
  g[2] += C2a * (-y * t[5] - x * t[7]) + 6.0f * C2b * z * t[6];
  if (degree < 3) return;
  const vf d3 = xx - yy;
  g[0] += -6.0f * C3a * xy * t[9] + C3b * (yz * t[10] + xz * t[14]) -
          C3c * (5.0f * zz - 1.0f) * t[13] - 3.0f * C3a * d3 * t[15];
  g[1] += -3.0f * C3a * d3 * t[9] + C3b * (xz * t[10] - yz * t[14]) -
          C3c * (5.0f * zz - 1.0f) * t[11] + 6.0f * C3a * xy * t[15];
  g[2] += C3b * (xy * t[10] + 0.5f * d3 * t[14]) - 10.0f * C3c * (yz * t[11] + xz * t[13]) +
          C3d * (15.0f * zz - 3.0f) * t[12];
  if (degree < 4) return;
  const vf s = 7.0f * zz - 1.0f, q = 7.0f * zz - 3.0f;
  g[0] += C4a * y * (3.0f * xx - yy) * t[16] - 6.0f * C4b * xy * z * t[17] + C4c * y * s * t[18] -
          C4d * z * q * t[21] + C4c * x * s * t[22] - 3.0f * C4b * z * d3 * t[23] +
          C4a * x * (xx - 3.0f * yy) * t[24];
  g[1] += C4a * x * (xx - 3.0f * yy) * t[16] - 3.0f * C4b * z * d3 * t[17] + C4c * x * s * t[18] -
          C4d * z * q * t[19] - C4c * y * s * t[22] + 6.0f * C4b * xy * z * t[23] -
          C4a * y * (3.0f * xx - yy) * t[24];
  g[2] += -C4b * y * (3.0f * xx - yy) * t[17] + 14.0f * C4c * xy * z * t[18] -
          C4d * y * (21.0f * zz - 3.0f) * t[19] + C4e * z * (140.0f * zz - 60.0f) * t[20] -
          C4d * x * (21.0f * zz - 3.0f) * t[21] + 7.0f * C4c * d3 * z * t[22] -
          C4b * x * (xx - 3.0f * yy) * t[23];
}

struct Center {
  float x, y, z;
};

Center center_of(const Camera& c) {  // -R^T t
  return {-(c.R[0] * c.t[0] + c.R[3] * c.t[1] + c.R[6] * c.t[2]),
          -(c.R[1] * c.t[0] + c.R[4] * c.t[1] + c.R[7] * c.t[2]),
          -(c.R[2] * c.t[0] + c.R[5] * c.t[1] + c.R[8] * c.t[2])};
}

struct Directions {
  vf d[3], inv_length;
};

inline Directions directions(const float* means, int count, const Center& center) {
  vf m[3];
  load_rows<3>(means, count, m);
  const vf x = m[0] - center.x, y = m[1] - center.y, z = m[2] - center.z;
  const vf inv = 1.0f / sqrt(max(x * x + y * y + z * z, splat(1e-24f)));
  return {{x * inv, y * inv, z * inv}, inv};
}

bool any_seen(const int32_t* radii, int count) {
  int all = 0;
  for (int i = 0; i < count; ++i) all |= radii[2 * i];
  return all != 0;
}

void colors_block(const ShArgs& a, const Center& center, int K, long i, int count) {
  alignas(64) float b[kMaxBases][kLanes];
  if (any_seen(a.radii + 2 * i, count)) {
    const Directions dir = directions(a.means + 3 * i, count, center);
    vf values[kMaxBases];
    basis(a.degree, dir.d[0], dir.d[1], dir.d[2], values);
    for (int k = 0; k < K; ++k) store(b[k], values[k]);
  }
  for (int lane = 0; lane < count; ++lane) {
    float* color = a.colors + 3 * (i + lane);
    if (a.radii[2 * (i + lane)] == 0) {
      color[0] = color[1] = color[2] = 0.0f;
      continue;
    }
    const float* head = a.sh0 + a.stride0 * (i + lane);
    const float* rest = a.shN + a.strideN * (i + lane);
    float red = C0 * head[0], green = C0 * head[1], blue = C0 * head[2];
    for (int k = 1; k < K; ++k) {
      red += b[k][lane] * rest[3 * k - 3];
      green += b[k][lane] * rest[3 * k - 2];
      blue += b[k][lane] * rest[3 * k - 1];
    }
    color[0] = std::max(red + 0.5f, 0.0f);
    color[1] = std::max(green + 0.5f, 0.0f);
    color[2] = std::max(blue + 0.5f, 0.0f);
  }
}

inline void put(float* out, float value, bool accumulate) {
  *out = accumulate ? *out + value : value;
}

void backward_block(const ShBackwardArgs& args, const Center& center, int K, long i, int count,
                    vf* v_center) {
  const ShArgs& a = args.forward;
  const bool add = args.accumulate;
  const bool seen = any_seen(a.radii + 2 * i, count);
  Directions dir;
  alignas(64) float b[kMaxBases][kLanes], t[kMaxBases][kLanes] = {};
  if (seen) {
    dir = directions(a.means + 3 * i, count, center);
    vf values[kMaxBases];
    basis(a.degree, dir.d[0], dir.d[1], dir.d[2], values);
    for (int k = 0; k < K; ++k) store(b[k], values[k]);
  }
  for (int lane = 0; lane < count; ++lane) {
    float* v_head = args.v_sh0 + a.stride0 * (i + lane);
    float* v_rest = args.v_shN + a.strideN * (i + lane);
    if (a.radii[2 * (i + lane)] == 0) {
      if (add) continue;
      std::memset(v_head, 0, 3 * sizeof(float));
      std::memset(v_rest, 0, 3 * a.rest * sizeof(float));
      continue;
    }
    const float *color = a.colors + 3 * (i + lane), *v = args.v_colors + 3 * (i + lane);
    const float red = color[0] > 0 ? v[0] : 0, green = color[1] > 0 ? v[1] : 0,
                blue = color[2] > 0 ? v[2] : 0;
    const float* rest = a.shN + a.strideN * (i + lane);
    put(v_head, C0 * red, add), put(v_head + 1, C0 * green, add), put(v_head + 2, C0 * blue, add);
    for (int k = 1; k < K; ++k) {
      put(v_rest + 3 * k - 3, b[k][lane] * red, add);
      put(v_rest + 3 * k - 2, b[k][lane] * green, add);
      put(v_rest + 3 * k - 1, b[k][lane] * blue, add);
      t[k][lane] = rest[3 * k - 3] * red + rest[3 * k - 2] * green + rest[3 * k - 1] * blue;
    }
    if (!add) std::memset(v_rest + 3 * (K - 1), 0, 3 * (a.rest - (K - 1)) * sizeof(float));
  }
  if (!seen) return;
  if (a.degree == 0 || !args.v_means) return;
  vf weights[kMaxBases], g[3];
  for (int k = 0; k < K; ++k) weights[k] = load(t[k]);
  basis_gradient(a.degree, dir.d[0], dir.d[1], dir.d[2], weights, g);
  const vf radial = g[0] * dir.d[0] + g[1] * dir.d[1] + g[2] * dir.d[2];
  vf v_mean[3];
  for (int k = 0; k < 3; ++k) {
    v_mean[k] = dir.inv_length * (g[k] - radial * dir.d[k]);
    if (v_center) v_center[k] -= v_mean[k];
  }
  add_rows<3>(args.v_means + 3 * i, count, v_mean);
}

int count_of(long i, long end) { return static_cast<int>(std::min<long>(end - i, kLanes)); }

}  // namespace

void sh_colors(const ShArgs& args) {
  const Center center = center_of(args.camera);
  const int K = (args.degree + 1) * (args.degree + 1);
  parallel_ranges(args.N, kGrain, [&](long begin, long end, int) {
    for (long i = begin; i < end; i += kLanes)
      colors_block(args, center, K, i, count_of(i, end));
  });
}

void sh_colors_backward(const ShBackwardArgs& args) {
  const Camera& c = args.forward.camera;
  const Center center = center_of(c);
  const int K = (args.forward.degree + 1) * (args.forward.degree + 1);
  double partial[kMaxRanges][3] = {};
  parallel_ranges(args.forward.N, kGrain, [&](long begin, long end, int range) {
    vf v_center[3] = {};
    for (long i = begin; i < end; i += kLanes)
      backward_block(args, center, K, i, count_of(i, end), args.v_view ? v_center : nullptr);
    for (int k = 0; k < 3; ++k) partial[range][k] = sum(v_center[k]);
  });
  if (!args.v_view) return;
  double v[3] = {};
  for (const auto& range : partial)
    for (int k = 0; k < 3; ++k) v[k] += range[k];
  for (int row = 0; row < 3; ++row)  // center = -R^T t
    for (int k = 0; k < 3; ++k) {
      args.v_view[3 * row + k] -= c.t[row] * v[k];
      args.v_view[9 + row] -= c.R[3 * row + k] * v[k];
    }
}

}  // namespace fieldwright::ISA
