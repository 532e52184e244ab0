// Where rays and local tensors are looked at: steps through occupied cells, and the cubes at points.
#pragma once
#include <cstdint>

namespace fieldwright {

// Equal steps along rays through a box of cells. See fields/samplers/occupancy.py.
struct Marching {
  const float* origins;     // [R, 3]
  const float* directions;  // [R, 3], unit length
  const float* begins;      // [R]: distance of the first step
  const int64_t* counts;    // [R]: steps up to the end of the box
  const uint8_t* occupied;  // [n, n, n]
  float low[3], scale[3];   // corner, and cells per unit of length
  int resolution;
  float step;
};

// Cubes of one size on a lattice, found through a sparse grid. See fields/strivec/cubes.py.
struct Lattice {
  const int32_t* coarse;  // [B, B, B]: brick of 8 x 8 x 8 cells, or -1
  const int32_t* bricks;  // [M, 8, 8, 8]: cube in the cell, or -1
  int side;               // B
  float low[3];           // corner of cell (0, 0, 0)
  float pitch;            // side of a cell
  float half;             // half side of a cube in cells, 0.5 to 1
};

// Calls visit(distance) for each step of ray r whose middle lies in an occupied cell.
template <typename Visit>
inline void march(const Marching& m, long r, const Visit& visit) {
  const float *o = m.origins + 3 * r, *d = m.directions + 3 * r;
  for (int64_t k = 0; k < m.counts[r]; ++k) {
    float begin = m.begins[r] + static_cast<float>(k) * m.step;
    if (begin < 0) begin = 0;
    const float middle = 0.5f * (begin + (begin + m.step));
    long cell = 0;
    for (int axis = 0; axis < 3; ++axis) {
      const float at = (o[axis] + middle * d[axis] - m.low[axis]) * m.scale[axis];
      int i = static_cast<int>(at);
      i = i < 0 ? 0 : i >= m.resolution ? m.resolution - 1 : i;
      cell = cell * m.resolution + i;
    }
    if (m.occupied[cell]) visit(begin);
  }
}

// Calls visit(cube, local [3], weight) for each cube that covers a point.
template <typename Visit>
inline void covering(const Lattice& l, const float* point, const Visit& visit) {
  int cells[3][2], count[3];
  float locals[3][2], weights[3][2];
  const float zone = 2 * l.half - 1;
  for (int axis = 0; axis < 3; ++axis) {
    const float at = (point[axis] - l.low[axis]) / l.pitch;
    if (!(at > -1 && at < static_cast<float>(8 * l.side + 1))) return;
    const int own = static_cast<int>(at + 1) - 1;
    const int other = at - static_cast<float>(own) < 0.5f ? own - 1 : own + 1;
    count[axis] = 0;
    for (const int cell : {own < other ? own : other, own < other ? other : own}) {
      const float from = at - (static_cast<float>(cell) + 0.5f);
      const float inside = l.half - (from < 0 ? -from : from);
      if (inside <= 0 || cell < 0 || cell >= 8 * l.side) continue;
      const float share = zone > 0 && inside < zone ? inside / zone : 1.0f;
      cells[axis][count[axis]] = cell;
      locals[axis][count[axis]] = (from + l.half) / (2 * l.half);
      weights[axis][count[axis]++] = share * share * (3 - 2 * share);
    }
  }
  for (int i = 0; i < count[0]; ++i)
    for (int j = 0; j < count[1]; ++j)
      for (int k = 0; k < count[2]; ++k) {
        const int x = cells[0][i], y = cells[1][j], z = cells[2][k];
        const long brick = l.coarse[(static_cast<long>(x / 8) * l.side + y / 8) * l.side + z / 8];
        if (brick < 0) continue;
        const int32_t cube = l.bricks[brick * 512 + ((x % 8) * 8 + y % 8) * 8 + z % 8];
        if (cube < 0) continue;
        const float local[3] = {locals[0][i], locals[1][j], locals[2][k]};
        visit(cube, local, weights[0][i] * weights[1][j] * weights[2][k]);
      }
}

}  // namespace fieldwright
