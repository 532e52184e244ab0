// EWA projection of Gaussians to the image plane (Zwicker et al. 2001, "EWA splatting", eq. 22-31)
// for pinhole cameras, and its gradient. kLanes Gaussians at a time.
#include "rasterizer.hpp"
#include "rows.hpp"
#include "thread_pool.hpp"

namespace fieldwright::ISA {
namespace {

constexpr long kGrain = 2048;
constexpr float kMinCompensation = 1e-6f;
constexpr float kMaxExtent = 3.33f;  // alpha of opacity 1 falls to 1/255 at 3.329 sigma

// Everything between the parameters and the 2-D covariance that both passes need.
struct Footprint {
  vf R[3][3];              // local to world
  vf inv_norm, w, x, y, z; // of the quaternion
  vf m[3], s[3];
  vf tx, ty, tz, rz;       // centre in the camera frame, 1 / depth
  vf ux, uy;               // x/z and y/z clamped to 1.3 x the field of view
  vf U[2][3];              // J W: world displacement to pixels
  vf V[2][3];              // U R diag(s)
  vf xx, xy, yy;           // 2-D covariance before the blur
};

struct Limits {
  float x_min, x_max, y_min, y_max;
};

Limits limits_of(const Camera& c) {
  const float margin_x = 0.15f * c.width / c.fx, margin_y = 0.15f * c.height / c.fy;
  return {-c.cx / c.fx - margin_x, (c.width - c.cx) / c.fx + margin_x,
          -c.cy / c.fy - margin_y, (c.height - c.cy) / c.fy + margin_y};
}

inline void evaluate(const Camera& c, const Limits& lim, const float* means, const float* quats,
                     const float* scales, int count, Footprint& f) {
  vf q[4];
  load_rows<3>(means, count, f.m);
  load_rows<3>(scales, count, f.s);
  load_rows<4>(quats, count, q);
  const vf norm2 = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3];
  f.inv_norm = 1.0f / sqrt(max(norm2, splat(1e-24f)));
  f.w = q[0] * f.inv_norm, f.x = q[1] * f.inv_norm, f.y = q[2] * f.inv_norm, f.z = q[3] * f.inv_norm;
  const vf w = f.w, x = f.x, y = f.y, z = f.z;
  f.R[0][0] = 1.0f - 2.0f * (y * y + z * z), f.R[0][1] = 2.0f * (x * y - w * z),
  f.R[0][2] = 2.0f * (x * z + w * y);
  f.R[1][0] = 2.0f * (x * y + w * z), f.R[1][1] = 1.0f - 2.0f * (x * x + z * z),
  f.R[1][2] = 2.0f * (y * z - w * x);
  f.R[2][0] = 2.0f * (x * z - w * y), f.R[2][1] = 2.0f * (y * z + w * x),
  f.R[2][2] = 1.0f - 2.0f * (x * x + y * y);

  const float* W = c.R;
  f.tx = W[0] * f.m[0] + W[1] * f.m[1] + W[2] * f.m[2] + c.t[0];
  f.ty = W[3] * f.m[0] + W[4] * f.m[1] + W[5] * f.m[2] + c.t[1];
  f.tz = W[6] * f.m[0] + W[7] * f.m[1] + W[8] * f.m[2] + c.t[2];
  // Culled centres (at or behind the camera) keep finite arithmetic.
  f.rz = 1.0f / select(gt(f.tz, splat(1e-6f)), f.tz, splat(1.0f));
  f.ux = min(max(f.tx * f.rz, splat(lim.x_min)), splat(lim.x_max));
  f.uy = min(max(f.ty * f.rz, splat(lim.y_min)), splat(lim.y_max));
  const vf jx = c.fx * f.rz, jy = c.fy * f.rz;
  for (int k = 0; k < 3; ++k) {
    f.U[0][k] = jx * (W[k] - f.ux * W[6 + k]);
    f.U[1][k] = jy * (W[3 + k] - f.uy * W[6 + k]);
  }
  for (int r = 0; r < 2; ++r)
    for (int k = 0; k < 3; ++k)
      f.V[r][k] = f.s[k] * (f.U[r][0] * f.R[0][k] + f.U[r][1] * f.R[1][k] + f.U[r][2] * f.R[2][k]);
  f.xx = f.V[0][0] * f.V[0][0] + f.V[0][1] * f.V[0][1] + f.V[0][2] * f.V[0][2];
  f.xy = f.V[0][0] * f.V[1][0] + f.V[0][1] * f.V[1][1] + f.V[0][2] * f.V[1][2];
  f.yy = f.V[1][0] * f.V[1][0] + f.V[1][1] * f.V[1][1] + f.V[1][2] * f.V[1][2];
}

// sqrt(det cov / det (cov + eps I)), not below its floor.
inline vf compensation_of(const Footprint& f, vf inv_det) {
  const vf ratio = (f.xx * f.yy - f.xy * f.xy) * inv_det;
  return sqrt(max(ratio, splat(kMinCompensation * kMinCompensation)));
}

void project_block(const ProjectArgs& a, const Limits& lim, long i, int count) {
  const Camera& c = a.camera;
  Footprint f;
  evaluate(c, lim, a.means + 3 * i, a.quats + 4 * i, a.scales + 3 * i, count, f);
  const vf xx = f.xx + a.eps2d, yy = f.yy + a.eps2d;
  const vf det = xx * yy - f.xy * f.xy;
  const mask regular = gt(det, splat(0.0f));
  const vf inv_det = 1.0f / select(regular, det, splat(1.0f));
  const vf mx = c.fx * f.tx * f.rz + c.cx, my = c.fy * f.ty * f.rz + c.cy;
  const vf compensation = compensation_of(f, inv_det);

  // Extent of alpha >= 1/255: sqrt(2 ln(255 o)) standard deviations.
  vf opacity = load_some(a.opacities + i, count, 0.0f);
  if (a.compensations) opacity *= compensation;
  const vf head = log2(max(255.0f * opacity, splat(1.0f))) * (2.0f * 0.6931471805599453f);
  const vf extent = min(sqrt(head), splat(kMaxExtent));
  const vf reach_x = ceil(extent * sqrt(xx)), reach_y = ceil(extent * sqrt(yy));
  mask seen = both(regular, ge(opacity, splat(kMinAlpha)));
  seen = both(seen, both(ge(f.tz, splat(a.near_plane)), le(f.tz, splat(a.far_plane))));
  seen = both(seen, both(gt(reach_x, splat(0.0f)), gt(reach_y, splat(0.0f))));
  seen = both(seen, gt(max(reach_x, reach_y), splat(a.radius_clip)));
  seen = both(seen, both(gt(mx + reach_x, splat(0.0f)),
                         gt(splat(static_cast<float>(c.width)), mx - reach_x)));
  seen = both(seen, both(gt(my + reach_y, splat(0.0f)),
                         gt(splat(static_cast<float>(c.height)), my - reach_y)));

  constexpr float kLargest = 1e9f;  // fits an int32; a Gaussian that touches the lens may exceed it
  alignas(64) float rx[kLanes], ry[kLanes];
  store(rx, zero_unless(seen, min(reach_x, splat(kLargest))));
  store(ry, zero_unless(seen, min(reach_y, splat(kLargest))));
  for (int lane = 0; lane < count; ++lane) {
    a.radii[2 * (i + lane)] = static_cast<int32_t>(rx[lane]);
    a.radii[2 * (i + lane) + 1] = static_cast<int32_t>(ry[lane]);
  }
  store_rows<2>(a.means2d + 2 * i, count, {zero_unless(seen, mx), zero_unless(seen, my)});
  store_rows<3>(a.conics + 3 * i, count,
                {zero_unless(seen, yy * inv_det), zero_unless(seen, -f.xy * inv_det),
                 zero_unless(seen, xx * inv_det)});
  store_some(a.depths + i, count, zero_unless(seen, f.tz));
  if (a.compensations) store_some(a.compensations + i, count, zero_unless(seen, compensation));
}

// Adds the gradient of one block of Gaussians; v_view gets [dL/dR, dL/dt] when wanted.
void project_backward_block(const ProjectBackwardArgs& a, const Limits& lim, long i, int count,
                            vf* v_view) {
  const Camera& c = a.camera;
  Footprint f;
  evaluate(c, lim, a.means + 3 * i, a.quats + 4 * i, a.scales + 3 * i, count, f);
  alignas(64) float seen[kLanes];
  for (int lane = 0; lane < kLanes; ++lane)
    seen[lane] = lane < count && a.radii[2 * (i + lane)] > 0 ? 1.0f : 0.0f;
  const mask visible = gt(load(seen), splat(0.5f));
  if (!any(visible)) return;

  vf v_mean2d[2], v_conic[3];
  load_rows<2>(a.v_means2d + 2 * i, count, v_mean2d);
  load_rows<3>(a.v_conics + 3 * i, count, v_conic);
  for (vf& v : v_mean2d) v = zero_unless(visible, v);
  for (vf& v : v_conic) v = zero_unless(visible, v);

  // Conic to covariance: v_cov = -K G K with K the conic and G its gradient.
  const vf xx = f.xx + a.eps2d, yy = f.yy + a.eps2d;
  const vf inv_det = 1.0f / select(visible, xx * yy - f.xy * f.xy, splat(1.0f));
  const vf ka = yy * inv_det, kb = -f.xy * inv_det, kc = xx * inv_det;
  const vf ga = v_conic[0], gb = 0.5f * v_conic[1], gc = v_conic[2];
  const vf h00 = ka * ga + kb * gb, h01 = ka * gb + kb * gc;
  const vf h10 = kb * ga + kc * gb, h11 = kb * gb + kc * gc;
  vf v_xx = -(h00 * ka + h01 * kb);
  vf v_xy = -((h00 * kb + h01 * kc) + (h10 * ka + h11 * kb));
  vf v_yy = -(h10 * kb + h11 * kc);
  if (a.v_compensations) {
    const vf compensation = compensation_of(f, inv_det);
    const vf v = zero_unless(visible, load_some(a.v_compensations + i, count, 0.0f)) *
                 zero_unless(gt(compensation, splat(kMinCompensation)), splat(1.0f));
    const vf v_sharp = 0.5f * v * inv_det / compensation;
    const vf v_blurred = -0.5f * v * compensation * inv_det;
    v_xx += v_sharp * f.yy + v_blurred * yy;
    v_yy += v_sharp * f.xx + v_blurred * xx;
    v_xy -= 2.0f * f.xy * (v_sharp + v_blurred);
  }

  vf v_V[2][3];
  for (int k = 0; k < 3; ++k) {
    v_V[0][k] = 2.0f * v_xx * f.V[0][k] + v_xy * f.V[1][k];
    v_V[1][k] = 2.0f * v_yy * f.V[1][k] + v_xy * f.V[0][k];
  }
  vf v_U[2][3], v_R[3][3], v_s[3];
  for (int k = 0; k < 3; ++k) {  // V[r][k] = s_k * sum_j U[r][j] R[j][k]
    const vf v0 = v_V[0][k] * f.s[k], v1 = v_V[1][k] * f.s[k];
    vf v_scale = splat(0.0f);
    for (int j = 0; j < 3; ++j) {
      v_R[j][k] = f.U[0][j] * v0 + f.U[1][j] * v1;
      v_scale += (f.U[0][j] * v_V[0][k] + f.U[1][j] * v_V[1][k]) * f.R[j][k];
    }
    v_s[k] = v_scale;
  }
  for (int r = 0; r < 2; ++r)
    for (int j = 0; j < 3; ++j)
      v_U[r][j] = v_V[r][0] * f.s[0] * f.R[j][0] + v_V[r][1] * f.s[1] * f.R[j][1] +
                  v_V[r][2] * f.s[2] * f.R[j][2];

  // U[0] = fx/z (W0 - ux W2), U[1] = fy/z (W1 - uy W2); ux = clamp(x/z).
  const float* W = c.R;
  const vf jx = c.fx * f.rz, jy = c.fy * f.rz;
  vf a0 = splat(0.0f), a1 = a0, b0 = a0, b1 = a0;
  for (int k = 0; k < 3; ++k) {
    a0 += v_U[0][k] * W[k], a1 += v_U[0][k] * W[6 + k];
    b0 += v_U[1][k] * W[3 + k], b1 += v_U[1][k] * W[6 + k];
  }
  const vf v_jx = a0 - f.ux * a1, v_jy = b0 - f.uy * b1;  // dL/d(fx/z), dL/d(fy/z)
  const vf v_ux = -jx * a1, v_uy = -jy * b1;
  const vf x_z = f.tx * f.rz, y_z = f.ty * f.rz;
  const mask free_x = both(gt(x_z, splat(lim.x_min)), gt(splat(lim.x_max), x_z));
  const mask free_y = both(gt(y_z, splat(lim.y_min)), gt(splat(lim.y_max), y_z));
  const vf g_x = c.fx * v_mean2d[0] + zero_unless(free_x, v_ux);  // dL/d(x/z)
  const vf g_y = c.fy * v_mean2d[1] + zero_unless(free_y, v_uy);
  vf v_t[3] = {g_x * f.rz, g_y * f.rz,
               -f.rz * (g_x * x_z + g_y * y_z + v_jx * jx + v_jy * jy)};
  if (a.v_depths) v_t[2] += zero_unless(visible, load_some(a.v_depths + i, count, 0.0f));

  for (vf& v : v_t) v = zero_unless(visible, v);
  add_rows<3>(a.v_means + 3 * i, count,
              {W[0] * v_t[0] + W[3] * v_t[1] + W[6] * v_t[2],
               W[1] * v_t[0] + W[4] * v_t[1] + W[7] * v_t[2],
               W[2] * v_t[0] + W[5] * v_t[1] + W[8] * v_t[2]});
  for (vf& v : v_s) v = zero_unless(visible, v);
  add_rows<3>(a.v_scales + 3 * i, count, v_s);

  const vf w = f.w, x = f.x, y = f.y, z = f.z;
  vf v_q[4];
  v_q[0] = 2.0f * (x * (v_R[2][1] - v_R[1][2]) + y * (v_R[0][2] - v_R[2][0]) +
                   z * (v_R[1][0] - v_R[0][1]));
  v_q[1] = 2.0f * (-2.0f * x * (v_R[1][1] + v_R[2][2]) + y * (v_R[0][1] + v_R[1][0]) +
                   z * (v_R[0][2] + v_R[2][0]) + w * (v_R[2][1] - v_R[1][2]));
  v_q[2] = 2.0f * (x * (v_R[0][1] + v_R[1][0]) - 2.0f * y * (v_R[0][0] + v_R[2][2]) +
                   z * (v_R[1][2] + v_R[2][1]) + w * (v_R[0][2] - v_R[2][0]));
  v_q[3] = 2.0f * (x * (v_R[0][2] + v_R[2][0]) + y * (v_R[1][2] + v_R[2][1]) -
                   2.0f * z * (v_R[0][0] + v_R[1][1]) + w * (v_R[1][0] - v_R[0][1]));
  for (vf& v : v_q) v = zero_unless(visible, v);
  const vf radial = v_q[0] * w + v_q[1] * x + v_q[2] * y + v_q[3] * z;
  add_rows<4>(a.v_quats + 4 * i, count,
              {f.inv_norm * (v_q[0] - radial * w), f.inv_norm * (v_q[1] - radial * x),
               f.inv_norm * (v_q[2] - radial * y), f.inv_norm * (v_q[3] - radial * z)});

  if (!v_view) return;
  for (int k = 0; k < 3; ++k) {
    v_view[k] += zero_unless(visible, jx * v_U[0][k]) + v_t[0] * f.m[k];
    v_view[3 + k] += zero_unless(visible, jy * v_U[1][k]) + v_t[1] * f.m[k];
    v_view[6 + k] += v_t[2] * f.m[k] -
                     zero_unless(visible, jx * f.ux * v_U[0][k] + jy * f.uy * v_U[1][k]);
    v_view[9 + k] += v_t[k];
  }
}

}  // namespace

void project(const ProjectArgs& args) {
  const Limits lim = limits_of(args.camera);
  parallel_ranges(args.N, kGrain, [&](long begin, long end, int) {
    for (long i = begin; i < end; i += kLanes)
      project_block(args, lim, i, static_cast<int>(end - i < kLanes ? end - i : kLanes));
  });
}

void project_backward(const ProjectBackwardArgs& args) {
  const Limits lim = limits_of(args.camera);
  double partial[kMaxRanges][12] = {};
  parallel_ranges(args.N, kGrain, [&](long begin, long end, int range) {
    vf v_view[12] = {};
    for (long i = begin; i < end; i += kLanes)
      project_backward_block(args, lim, i, static_cast<int>(end - i < kLanes ? end - i : kLanes),
                             args.v_view ? v_view : nullptr);
    for (int k = 0; k < 12; ++k) partial[range][k] = sum(v_view[k]);
  });
  if (args.v_view)
    for (const auto& range : partial)
      for (int k = 0; k < 12; ++k) args.v_view[k] += range[k];
}

}  // namespace fieldwright::ISA
