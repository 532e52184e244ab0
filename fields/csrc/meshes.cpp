#include "meshes.hpp"

#include <algorithm>
#include <cmath>

namespace fieldwright {

void draw_triangles(const TriangleProblem& problem, const int32_t* chosen, long count, int top,
                    int bottom) {
  for (long i = 0; i < count; ++i) {
    const int32_t face = chosen[i];
    const double* p = problem.corners + 6L * face;
    const double* q = problem.inverse_depths + 3L * face;
    const double ax = p[0], ay = p[1], bx = p[2], by = p[3], cx = p[4], cy = p[5];
    const double area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
    if (area == 0) continue;
    const double sign = area < 0 ? -1.0 : 1.0, scale = 1 / area;
    const double low_x = std::min({ax, bx, cx}), high_x = std::max({ax, bx, cx});
    const double low_y = std::min({ay, by, cy}), high_y = std::max({ay, by, cy});
    const int first = static_cast<int>(std::clamp(std::ceil(low_x - 0.5), 0.0, 1.0 * problem.width));
    const int last =
        static_cast<int>(std::clamp(std::floor(high_x - 0.5), -1.0, problem.width - 1.0));
    const int begin = std::max(
        top, static_cast<int>(std::clamp(std::ceil(low_y - 0.5), 0.0, 1.0 * problem.height)));
    const int end = std::min(bottom, 1 + static_cast<int>(std::clamp(std::floor(high_y - 0.5), -1.0,
                                                                     problem.height - 1.0)));
    for (int y = begin; y < end; ++y) {
      const double py = y + 0.5;
      for (int x = first; x <= last; ++x) {
        const double px = x + 0.5;
        const double a = (bx - px) * (cy - py) - (by - py) * (cx - px);
        const double b = (cx - px) * (ay - py) - (cy - py) * (ax - px);
        const double c = (ax - px) * (by - py) - (ay - py) * (bx - px);
        if (!(a * sign >= 0 && b * sign >= 0 && c * sign >= 0)) continue;
        const double qa = q[0] * (a * scale), qb = q[1] * (b * scale), qc = q[2] * (c * scale);
        const double total = qa + qb + qc;
        const float nearness = static_cast<float>(total);
        const long pixel = static_cast<long>(y) * problem.width + x;
        if (!(nearness > problem.nearness[pixel])) continue;  // faces come in rising order
        problem.nearness[pixel] = nearness;
        problem.faces[pixel] = face;
        float* weights = problem.weights + 3 * pixel;
        weights[0] = static_cast<float>(qa / total);
        weights[1] = static_cast<float>(qb / total);
        weights[2] = static_cast<float>(qc / total);
      }
    }
  }
}

namespace {

// Depth at (u, v): interpolated where the four pixels around it lie on one surface.
double depth_at(const FusionProblem& problem, double u, double v, double nearest) {
  const double left = std::floor(u - 0.5), top = std::floor(v - 0.5);
  const long l = static_cast<long>(left), t = static_cast<long>(top);
  if (l < 0 || t < 0 || l + 1 >= problem.width || t + 1 >= problem.height) return nearest;
  double d[4];
  for (int k = 0; k < 4; ++k) {
    const long pixel = (t + (k >> 1)) * problem.width + l + (k & 1);
    d[k] = problem.depths[pixel];
    if (!(std::abs(d[k] - nearest) < problem.truncation) || !(problem.weights[pixel] > 0))
      return nearest;
  }
  const double across = u - 0.5 - left, down = v - 0.5 - top;
  const double upper = d[0] + across * (d[1] - d[0]), lower = d[2] + across * (d[3] - d[2]);
  return upper + down * (lower - upper);
}

void fuse_point(const FusionProblem& problem, double px, double py, double pz, float* sums,
                float& sum_weights) {
  const double* m = problem.pose;
  const double* K = problem.pose + 12;
  const double z = m[8] * px + m[9] * py + m[10] * pz + m[11];
  if (!(z > 0)) return;
  const double x = m[0] * px + m[1] * py + m[2] * pz + m[3];
  const double y = m[4] * px + m[5] * py + m[6] * pz + m[7];
  const double inverse = 1 / z, xn = x * inverse, yn = y * inverse;
  const double u = K[0] * xn + K[1] * yn + K[2], v = K[3] * xn + K[4] * yn + K[5];
  if (!(u >= 0 && u < problem.width && v >= 0 && v < problem.height)) return;
  const long pixel = static_cast<long>(v) * problem.width + static_cast<long>(u);
  const float weight = problem.weights[pixel];
  if (!(weight > 0)) return;
  const double depth = depth_at(problem, u, v, problem.depths[pixel]);
  const double ahead = (depth - z) * std::sqrt(xn * xn + yn * yn + 1);
  if (!(ahead >= -problem.truncation)) return;
  const float share = static_cast<float>(std::min(1.0, ahead / problem.truncation));
  sums[0] += weight * share;
  sum_weights += weight;
  if (!(ahead < problem.truncation)) return;
  const float* color = problem.colors + 3 * pixel;
  for (int k = 0; k < 3; ++k) sums[1 + k] += weight * color[k];
  sums[4] += weight;
}

}  // namespace

void fuse_bricks(const FusionProblem& problem, long begin, long end) {
  constexpr int kSide = 8;
  for (long brick = begin; brick < end; ++brick) {
    const double* corner = problem.corners + 3 * brick;
    long point = brick * kSide * kSide * kSide;
    for (int i = 0; i < kSide; ++i)
      for (int j = 0; j < kSide; ++j)
        for (int k = 0; k < kSide; ++k, ++point)
          fuse_point(problem, corner[0] + problem.spacing * i, corner[1] + problem.spacing * j,
                     corner[2] + problem.spacing * k, problem.sums + 5 * point,
                     problem.sum_weights[point]);
  }
}

}  // namespace fieldwright
