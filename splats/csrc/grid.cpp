#include "grid.hpp"

#include <algorithm>
#include <cmath>

namespace fieldwright::ISA {
namespace {

constexpr long kBlock = 64;  // rows between the two passes over numbers that stay in the cache
constexpr long kColumns = 10;
constexpr int kScale = 0, kOpacity = 3, kColor = 4, kRotation = 7;  // columns of the rules
constexpr double kSmallestReal = 1e-3;  // rotations by half a turn have no vector

// What rounding a quaternion takes: vector over real part, and the signed length to give back.
struct Turned {
  double vector[3], length;
};

Turned turned(const GridProblem& problem, long row) {
  const float* q = problem.values[kQuats] + 4 * row;
  double f[4], squared = 0;
  for (int i = 0; i < 4; ++i) {
    const double* t = problem.turn + 4 * i;
    f[i] = t[0] * q[0] + t[1] * q[1] + t[2] * q[2] + t[3] * q[3];
    squared += double{q[i]} * q[i];
  }
  const double real = std::abs(f[0]) < kSmallestReal ? kSmallestReal : f[0];
  return {{f[1] / real, f[2] / real, f[3] / real}, std::copysign(std::sqrt(squared), real)};
}

double dot(const double* line, double x, double y, double z) {
  return line[0] * x + line[1] * y + line[2] * z + line[3];
}

void round_mean(const GridProblem& problem, long row) {
  const float* x = problem.values[kMeans] + 3 * row;
  float* found = problem.rounded[kMeans] + 3 * row;
  const double unit = problem.units[kMeans];
  double p[3];
  for (int i = 0; i < 3; ++i)
    p[i] = unit * std::nearbyint(dot(problem.to_file + 4 * i, x[0], x[1], x[2]) / unit);
  for (int i = 0; i < 3; ++i)
    found[i] = static_cast<float>(dot(problem.back + 4 * i, p[0], p[1], p[2]));
}

void write_quat(const GridProblem& problem, long row, const int64_t* integers, double length) {
  float* found = problem.rounded[kQuats] + 4 * row;
  double u[4] = {1, 0, 0, 0}, squared = 1;
  for (int i = 0; i < 3; ++i) {
    u[i + 1] = static_cast<double>(integers[i]) * problem.units[kQuats];
    squared += u[i + 1] * u[i + 1];
  }
  const double factor = length / std::sqrt(squared);
  for (int j = 0; j < 4; ++j) {
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += u[i] * problem.turn[4 * i + j];
    found[j] = static_cast<float>(factor * sum);
  }
}

}  // namespace

// Rows [begin, end).
void round_rows(const GridProblem& problem, long begin, long end) {
  double numbers[kBlock * kColumns], lengths[kBlock];
  int64_t integers[kBlock * kColumns];
  const double scale = problem.units[kLogScales], opacity = problem.units[kOpacities],
               color = problem.units[kColors], rotation = problem.units[kQuats];
  for (long first = begin; first < end; first += kBlock) {
    const long count = std::min(kBlock, end - first);
    for (long i = 0; i < count; ++i) {
      const long row = first + i;
      double* to = numbers + i * kColumns;
      const Turned quat = turned(problem, row);
      lengths[i] = quat.length;
      to[kOpacity] = problem.values[kOpacities][row] / opacity;
      for (int k = 0; k < 3; ++k) {
        to[kScale + k] = (problem.values[kLogScales][3 * row + k] + problem.shift) / scale;
        to[kColor + k] = problem.values[kColors][3 * row + k] / color;
        to[kRotation + k] = quat.vector[k] / rotation;
      }
      round_mean(problem, row);
    }
    grade_rows({numbers, integers, problem.rules}, 0, count);
    for (long i = 0; i < count; ++i) {
      const long row = first + i;
      const int64_t* found = integers + i * kColumns;
      problem.rounded[kOpacities][row] = static_cast<float>(found[kOpacity] * opacity);
      for (int k = 0; k < 3; ++k) {
        problem.rounded[kLogScales][3 * row + k] =
            static_cast<float>(found[kScale + k] * scale - problem.shift);
        problem.rounded[kColors][3 * row + k] = static_cast<float>(found[kColor + k] * color);
      }
      write_quat(problem, row, found + kRotation, lengths[i]);
    }
  }
}

}  // namespace fieldwright::ISA
