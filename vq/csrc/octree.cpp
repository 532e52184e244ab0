#include "octree.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "binary_coder.hpp"
#include "context_mixing.hpp"

namespace fieldwright {
namespace {

constexpr int kContexts = 5;
constexpr int kLost = 2;  // levels without neighbors after which a lone point is unpredictable

// A cube that holds `count` points; its corner in units of its side.
struct Cell {
  uint32_t corner[3];
  uint32_t count;
  // To which side the last neighbors lay that it or a cell around it had, per axis; how many
  // levels ago that was; and on which sides it went since, per axis, after a leading 1.
  int lean[3] = {0, 0, 0};
  int age = 0;
  int path[3] = {1, 1, 1};
};

// How many points the cells of one level hold, by corner.
class CellTable {
 public:
  CellTable(const std::vector<Cell>& cells, int level)
      : side_(uint32_t{1} << level),
        mask_(std::bit_ceil(2 * cells.size() + 8) - 1),
        slots_(mask_ + 1) {
    for (const Cell& cell : cells) {
      const uint64_t key = key_of(cell.corner);
      size_t s = first_slot(cell.corner);
      while (slots_[s].count) s = (s + 1) & mask_;
      slots_[s] = {key, cell.count};
    }
  }

  uint32_t count(const uint32_t* corner) const {
    if (corner[0] >= side_ || corner[1] >= side_ || corner[2] >= side_) return 0;
    const uint64_t key = key_of(corner);
    for (size_t s = first_slot(corner); slots_[s].count; s = (s + 1) & mask_)
      if (slots_[s].key == key) return slots_[s].count;
    return 0;
  }

 private:
  struct Slot {
    uint64_t key;
    uint32_t count = 0;
  };

  static uint64_t key_of(const uint32_t* c) {
    return uint64_t{c[0]} | uint64_t{c[1]} << 21 | uint64_t{c[2]} << 42;
  }
  // The eight cells of a cube lie side by side: neighbors are mostly found in the same line.
  size_t first_slot(const uint32_t* c) const {
    const uint32_t half[3] = {c[0] >> 1, c[1] >> 1, c[2] >> 1};
    const uint64_t cube = key_of(half);
    const uint64_t child = (c[0] & 1) | (c[1] & 1) << 1 | (c[2] & 1) << 2;
    return static_cast<size_t>((cube * 0x9E3779B97F4A7C15u >> 32 << 3) + child) & mask_;
  }

  uint32_t side_;
  size_t mask_;
  std::vector<Slot> slots_;
};

uint32_t quantize(int x) {  // 1..15, finer near 0
  const int a = std::abs(x);
  const int q = a < 4 ? a : a < 6 ? 4 : a < 9 ? 5 : a < 14 ? 6 : 7;
  return static_cast<uint32_t>(x < 0 ? 8 - q : 8 + q);
}

template <class Coder>
class PointCoder {
 public:
  PointCoder(Coder& coder, long count) : model_(coder, 3 * 32, count) {}

  // The cells of the next level. `upper(first, count, axis)` says how many points of a run of
  // sorted ones lie in the upper half; a decoder ignores it.
  template <class Upper>
  std::vector<Cell> split(std::vector<Cell>& cells, int level, const Upper& upper) {
    const CellTable table(cells, level);
    level_ = static_cast<uint32_t>(level);
    std::vector<Cell> next;
    next.reserve(cells.size());
    long first = 0;
    for (Cell& cell : cells) {
      look_around(cell, table);
      split_axis(cell, 2, first, upper, next);
      first += cell.count;
    }
    return next;
  }

 private:
  void look_around(Cell& cell, const CellTable& table) {
    neighbors_ = 0;
    for (int n = 0; n < 27; ++n) {
      const int x = n % 3, y = n / 3 % 3, z = n / 9;
      around_[z][y][x] = 0;
      if (n == 13 || cell.age > 0) continue;  // a cell without neighbors has none further down
      const uint32_t corner[3] = {cell.corner[0] + x - 1, cell.corner[1] + y - 1,
                                  cell.corner[2] + z - 1};
      const uint32_t count = table.count(corner);
      if (count == 0) continue;
      const int presence = 1 + 3 * std::min(6, static_cast<int>(std::bit_width(count)));
      const int far = std::abs(x - 1) + std::abs(y - 1) + std::abs(z - 1);
      around_[z][y][x] = presence;
      near_[neighbors_++] = {{x - 1, y - 1, z - 1}, (8 >> far) * presence};
    }
    if (neighbors_ == 0) {
      cell.age = std::min(cell.age + 1, kLost);
      return;
    }
    for (int axis = 0; axis < 3; ++axis) {
      cell.lean[axis] = lean(axis, 0, 0);
      cell.path[axis] = 1;
    }
  }

  // Neighbors above minus below along `axis`, weighted, beside the part of the cell that lies on
  // the given sides along z and y (-1 or 1; 0 where not known yet).
  int lean(int axis, int side_z, int side_y) const {
    int sum = 0;
    for (int n = 0; n < neighbors_; ++n) {
      const Neighbor& near = near_[n];
      int weight = near.step[axis] * near.weight;
      if (side_z) weight *= 1 + side_z * near.step[2];
      if (side_y) weight *= 1 + side_y * near.step[1];
      sum += weight;
    }
    return sum >> 2;
  }

  // Splits along `axis`, then the halves along the axes below it.
  template <class Upper>
  void split_axis(const Cell& cell, int axis, long first, const Upper& upper,
                  std::vector<Cell>& next) {
    const int n = static_cast<int>(cell.count);
    const int high = code_count(cell, axis, n, upper(first, n, axis));
    for (int side = 0; side < 2; ++side) {
      Cell part = cell;
      part.count = static_cast<uint32_t>(side ? high : n - high);
      if (part.count == 0) continue;
      if (part.count < cell.count) part.age = 0;  // the other half is a neighbor
      part.corner[axis] = cell.corner[axis] << 1 | static_cast<uint32_t>(side);
      part.path[axis] = std::min(15, cell.path[axis] << 1 | side);
      if (axis == 0) next.push_back(part);
      else split_axis(part, axis - 1, side ? first + n - high : first, upper, next);
    }
  }

  // How many of n points lie in the upper half.
  int code_count(const Cell& cell, int axis, int n, int k) {
    if (n == 1 && cell.age == kLost) return model_.decide_evenly(k == 1);
    const int width = static_cast<int>(std::bit_width(static_cast<unsigned>(n)));
    const uint32_t size = static_cast<uint32_t>(n < 8 ? n : 8 + width) << 2 |
                          static_cast<uint32_t>(axis);
    set_context(cell, axis, size * 0x7FEB352Du);
    const int crowd = n == 1 ? cell.age : std::min(15, 6 + width / 2);
    const int set = axis * 32 + (neighbors_ ? 16 : 0) + crowd;
    const auto decide = [&](bool bit) { return model_.decide(bit, set, nullptr); };
    if (n == 1) return decide(k == 1);
    // All points in one half, and in which; or else how many, by halving [1, n - 1].
    if (decide(k == 0 || k == n)) return decide(k == n) ? n : 0;
    int low = 1, high = n - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (decide(k >= middle)) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  void set_context(const Cell& cell, int axis, uint32_t size) {
    const int side_z = axis < 2 ? (cell.corner[2] & 1 ? 1 : -1) : 0;
    const int side_y = axis < 1 ? (cell.corner[1] & 1 ? 1 : -1) : 0;
    const int dx = axis == 0, dy = axis == 1, dz = axis == 2;
    const uint32_t sides = static_cast<uint32_t>(3 * side_z + side_y + 4);
    const uint32_t age = static_cast<uint32_t>(cell.age);
    const uint32_t now = neighbors_ ? quantize(lean(axis, side_z, side_y)) : 0;
    uint32_t faces = 0;
    for (int a = 0; a < 3; ++a) {
      const int x = a == 0, y = a == 1, z = a == 2;
      faces = faces << 2 | (around_[1 - z][1 - y][1 - x] > 0 ? 2u : 0u) |
              (around_[1 + z][1 + y][1 + x] > 0 ? 1u : 0u);
    }
    const uint32_t path = static_cast<uint32_t>(cell.path[axis]);
    const uint32_t above = static_cast<uint32_t>(around_[1 + dz][1 + dy][1 + dx]);
    const uint32_t below = static_cast<uint32_t>(around_[1 - dz][1 - dy][1 - dx]);
    model_.set_contexts({
        size + level_,
        size + (now << 5 | std::min(31u, static_cast<uint32_t>(neighbors_))),
        size + (now << 10 | faces << 4 | sides),
        size + (quantize(cell.lean[axis]) << 8 | path << 4 | age),
        size + (above << 8 | below),
    });
  }

  ContextModel<Coder, kContexts, 0> model_;
  struct Neighbor {
    int step[3];
    int weight;
  };

  int around_[3][3][3];
  Neighbor near_[26];
  int neighbors_ = 0;
  uint32_t level_ = 0;
};

std::vector<Cell> root(long count) { return {Cell{{0, 0, 0}, static_cast<uint32_t>(count)}}; }

}  // namespace

std::vector<uint8_t> encode_points(const uint32_t* points, long count, int bits) {
  BinaryEncoder coder;
  PointCoder<BinaryEncoder> point_coder(coder, count);
  std::vector<Cell> cells = root(count);
  for (int level = 0; level < bits; ++level) {
    const int shift = bits - 1 - level;
    cells = point_coder.split(cells, level, [&](long first, int n, int axis) {
      const uint32_t* p = points + 3 * first + axis;  // sorted: the upper half comes last
      int low = 0, high = n;
      while (low < high) {
        const int middle = (low + high) / 2;
        if (p[3L * middle] >> shift & 1) high = middle;
        else low = middle + 1;
      }
      return n - low;
    });
  }
  return coder.finish();
}

bool decode_points(const uint8_t* data, size_t size, long count, int bits, uint32_t* points) {
  BinaryDecoder coder(data, size);
  PointCoder<BinaryDecoder> point_coder(coder, count);
  std::vector<Cell> cells = root(count);
  for (int level = 0; level < bits && !coder.truncated(); ++level)
    cells = point_coder.split(cells, level, [](long, int, int) { return 0; });
  if (!coder.finished()) return false;
  for (const Cell& cell : cells)
    for (uint32_t k = 0; k < cell.count; ++k, points += 3) std::copy_n(cell.corner, 3, points);
  return true;
}

}  // namespace fieldwright
