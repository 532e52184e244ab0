// Small dense linear algebra: symmetric eigenproblems by Jacobi rotations, best-fit rotations.
#pragma once
#include <cmath>

namespace fieldwright::ISA {

// Eigenvalues (ascending) and eigenvectors (columns of v) of the symmetric n x n matrix a, which
// is destroyed.
template <int n>
inline void symmetric_eigen(double (&a)[n][n], double (&values)[n], double (&v)[n][n]) {
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) v[i][j] = i == j;
  for (int sweep = 0; sweep < 12; ++sweep) {
    double off = 0, diagonal = 0;
    for (int i = 0; i < n; ++i) {
      diagonal += a[i][i] * a[i][i];
      for (int j = i + 1; j < n; ++j) off += a[i][j] * a[i][j];
    }
    if (off <= 1e-26 * diagonal || off == 0) break;
    for (int p = 0; p < n; ++p)
      for (int q = p + 1; q < n; ++q) {
        if (a[p][q] == 0) continue;
        const double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
        const double t = (theta >= 0 ? 1 : -1) / (std::fabs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (int k = 0; k < n; ++k) {
          const double kp = a[k][p], kq = a[k][q];
          a[k][p] = c * kp - s * kq;
          a[k][q] = s * kp + c * kq;
        }
        for (int k = 0; k < n; ++k) {
          const double pk = a[p][k], qk = a[q][k];
          a[p][k] = c * pk - s * qk;
          a[q][k] = s * pk + c * qk;
        }
        for (int k = 0; k < n; ++k) {
          const double kp = v[k][p], kq = v[k][q];
          v[k][p] = c * kp - s * kq;
          v[k][q] = s * kp + c * kq;
        }
      }
  }
  for (int i = 0; i < n; ++i) values[i] = a[i][i];
  for (int i = 0; i < n; ++i)
    for (int j = i + 1; j < n; ++j)
      if (values[j] < values[i]) {
        const double swap = values[i];
        values[i] = values[j];
        values[j] = swap;
        for (int k = 0; k < n; ++k) {
          const double column = v[k][i];
          v[k][i] = v[k][j];
          v[k][j] = column;
        }
      }
}

// The proper rotation that maximizes trace(R^T h), h = sum of w target source^T. Horn 1987: the
// quaternion is the dominant eigenvector of a symmetric 4 x 4 matrix; returns its trace.
inline double best_rotation(const double (&h)[3][3], double (&r)[3][3]) {
  const double xx = h[0][0], yy = h[1][1], zz = h[2][2];
  double k[4][4] = {
      {xx + yy + zz, h[2][1] - h[1][2], h[0][2] - h[2][0], h[1][0] - h[0][1]},
      {h[2][1] - h[1][2], xx - yy - zz, h[0][1] + h[1][0], h[0][2] + h[2][0]},
      {h[0][2] - h[2][0], h[0][1] + h[1][0], yy - xx - zz, h[1][2] + h[2][1]},
      {h[1][0] - h[0][1], h[0][2] + h[2][0], h[1][2] + h[2][1], zz - xx - yy}};
  double values[4], vectors[4][4];
  symmetric_eigen<4>(k, values, vectors);
  const double w = vectors[0][3], x = vectors[1][3], y = vectors[2][3], z = vectors[3][3];
  r[0][0] = 1 - 2 * (y * y + z * z);
  r[0][1] = 2 * (x * y - w * z);
  r[0][2] = 2 * (x * z + w * y);
  r[1][0] = 2 * (x * y + w * z);
  r[1][1] = 1 - 2 * (x * x + z * z);
  r[1][2] = 2 * (y * z - w * x);
  r[2][0] = 2 * (x * z - w * y);
  r[2][1] = 2 * (y * z + w * x);
  r[2][2] = 1 - 2 * (x * x + y * y);
  return values[3];
}

}  // namespace fieldwright::ISA
