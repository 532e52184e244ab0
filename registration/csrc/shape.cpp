#include "shape.hpp"

#include <cmath>

#include "linalg.hpp"

namespace fieldwright::ISA {
namespace {

constexpr float kPi = 3.14159265f;

struct Moments {
  double count = 0, sum[3] = {}, products[6] = {};
};

void eigen_of(const Moments& m, double (&values)[3], double (&vectors)[3][3]) {
  double mean[3];
  for (int a = 0; a < 3; ++a) mean[a] = m.sum[a] / m.count;
  double c[3][3];
  int k = 0;
  for (int a = 0; a < 3; ++a)
    for (int b = a; b < 3; ++b, ++k)
      c[a][b] = c[b][a] = m.products[k] / m.count - mean[a] * mean[b];
  symmetric_eigen<3>(c, values, vectors);
}

// Shares a vote between the two bins whose centers lie around `position` in [0, kBins].
inline void vote(float* bins, float position) {
  float shifted = position - 0.5f;
  shifted = shifted < 0 ? 0 : shifted > kBins - 1 ? kBins - 1 : shifted;
  const int low = static_cast<int>(shifted);
  const float part = shifted - static_cast<float>(low);
  bins[low] += 1 - part;
  if (part > 0) bins[low + 1] += part;
}

}  // namespace

// Normals from the points within the radius, pointing away from the mass of the whole neighborhood:
// a choice that needs no sensor and that two views of one place share.
void local_normals(const Neighborhoods& lists, long begin, long end, float squared_radius,
                   float* normals) {
  for (long i = begin; i < end; ++i) {
    const float* p = lists.points + 3 * i;
    Moments m;
    double mass[3] = {};
    for (int64_t e = lists.offsets[i]; e < lists.offsets[i + 1]; ++e) {
      const float* q = lists.points + 3l * lists.indices[e];
      const double x = q[0] - p[0], y = q[1] - p[1], z = q[2] - p[2];
      mass[0] += x, mass[1] += y, mass[2] += z;
      if (lists.squared[e] > squared_radius) continue;
      m.count += 1;
      m.sum[0] += x, m.sum[1] += y, m.sum[2] += z;
      m.products[0] += x * x, m.products[1] += x * y, m.products[2] += x * z;
      m.products[3] += y * y, m.products[4] += y * z, m.products[5] += z * z;
    }
    float* normal = normals + 3 * i;
    normal[0] = normal[1] = normal[2] = 0;
    if (m.count < 3) continue;
    double values[3], vectors[3][3], along = 0;
    eigen_of(m, values, vectors);
    for (int a = 0; a < 3; ++a) along += vectors[a][0] * mass[a];
    for (int a = 0; a < 3; ++a)
      normal[a] = static_cast<float>(along > 0 ? -vectors[a][0] : vectors[a][0]);
  }
}

// Angles between the normals of a point and of its neighbors in the Darboux frame of each pair.
// Reference: Rusu et al., "Fast point feature histograms (FPFH) for 3D registration", ICRA 2009,
// equation 1.
void simple_histograms(const Neighborhoods& lists, const float* normals, long begin, long end,
                       float* histograms) {
  for (long i = begin; i < end; ++i) {
    float* bins = histograms + i * kHistogram;
    for (int b = 0; b < kHistogram; ++b) bins[b] = 0;
    const float *p = lists.points + 3 * i, *u = normals + 3 * i;
    int count = 0;
    for (int64_t e = lists.offsets[i]; e < lists.offsets[i + 1]; ++e) {
      if (!(lists.squared[e] > 0)) continue;
      const float *q = lists.points + 3l * lists.indices[e], *n = normals + 3l * lists.indices[e];
      const float inverse = 1 / std::sqrt(lists.squared[e]);
      const float d[3] = {(q[0] - p[0]) * inverse, (q[1] - p[1]) * inverse,
                          (q[2] - p[2]) * inverse};
      float v[3] = {d[1] * u[2] - d[2] * u[1], d[2] * u[0] - d[0] * u[2],
                    d[0] * u[1] - d[1] * u[0]};
      const float length = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
      if (length < 1e-6f) continue;
      for (float& c : v) c /= length;
      const float w[3] = {u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2],
                          u[0] * v[1] - u[1] * v[0]};
      const float alpha = v[0] * n[0] + v[1] * n[1] + v[2] * n[2];
      const float phi = u[0] * d[0] + u[1] * d[1] + u[2] * d[2];
      const float theta = std::atan2(w[0] * n[0] + w[1] * n[1] + w[2] * n[2],
                                     u[0] * n[0] + u[1] * n[1] + u[2] * n[2]);
      vote(bins, kBins * (theta + kPi) / (2 * kPi));
      vote(bins + kBins, kBins * (alpha + 1) / 2);
      vote(bins + 2 * kBins, kBins * (phi + 1) / 2);
      ++count;
    }
    if (count > 0)
      for (int b = 0; b < kHistogram; ++b) bins[b] /= static_cast<float>(count);
  }
}

// Neighbors' histograms added, weighted by the inverse distance; each third sums to 1, and the
// square roots are stored, so that Euclidean distances are Hellinger's.
void pooled_histograms(const Neighborhoods& lists, const float* simple, long begin, long end,
                       float* histograms) {
  for (long i = begin; i < end; ++i) {
    double bins[kHistogram] = {};
    double total = 0;
    for (int64_t e = lists.offsets[i]; e < lists.offsets[i + 1]; ++e) {
      if (!(lists.squared[e] > 0)) continue;
      const double weight = 1 / std::sqrt(static_cast<double>(lists.squared[e]));
      const float* other = simple + static_cast<long>(lists.indices[e]) * kHistogram;
      for (int b = 0; b < kHistogram; ++b) bins[b] += weight * other[b];
      total += weight;
    }
    float* out = histograms + i * kHistogram;
    const float* own = simple + i * kHistogram;
    for (int third = 0; third < 3; ++third) {
      double sum = 0;
      for (int b = third * kBins; b < (third + 1) * kBins; ++b) {
        bins[b] = own[b] + (total > 0 ? bins[b] / total : 0);
        sum += bins[b];
      }
      for (int b = third * kBins; b < (third + 1) * kBins; ++b)
        out[b] = sum > 0 ? static_cast<float>(std::sqrt(bins[b] / sum)) : 0.0f;
    }
  }
}

}  // namespace fieldwright::ISA
