#include "octree.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>

#include "binary_coder.hpp"
#include "context_mixing.hpp"

namespace fieldwright {
namespace {

constexpr int kContexts = 5;

// A cube that holds `count` points; its corner in units of its side.
struct Cell {
  uint32_t corner[3];
  uint32_t count;
  bool alone = false;  // no neighbors, and so none further down
};

// Where in Morton order the occupied cells of one level stand, by corner.
class CellTable {
 public:
  CellTable(const std::vector<Cell>& cells, int level)
      : side_(uint32_t{1} << level),
        mask_(std::bit_ceil(2 * cells.size() + 8) - 1),
        slots_(mask_ + 1) {
    for (size_t i = 0; i < cells.size(); ++i) {
      size_t s = first_slot(cells[i].corner);
      while (slots_[s].index >= 0) s = (s + 1) & mask_;
      slots_[s] = {key_of(cells[i].corner), static_cast<long>(i)};
    }
  }

  // -1 where no cell is.
  long find(const uint32_t* corner) const {
    if (corner[0] >= side_ || corner[1] >= side_ || corner[2] >= side_) return -1;
    const uint64_t key = key_of(corner);
    for (size_t s = first_slot(corner); slots_[s].index >= 0; s = (s + 1) & mask_)
      if (slots_[s].key == key) return slots_[s].index;
    return -1;
  }

 private:
  struct Slot {
    uint64_t key = 0;
    long index = -1;
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

// How crowded places are, by the points nearby: each adds by the inverse fourth power of its
// distance, about.
class Density {
 public:
  Density() {
    for (int d = 0; d < kReach; ++d) falloff_[d] = (1 << 24) / ((4 + d) * (4 + d));
  }

  void clear() { num_sources_ = 0; }

  // A cell so many sides from the one at hand, not split yet.
  void add_cell(const int (&step)[3], int width) {
    Source& source = sources_[num_sources_++];
    for (int a = 0; a < 3; ++a) source.place[a] = 4 * step[a] + 2;
    source.blur = 2;
    source.width = width;
  }

  // One that is, with the widths of the counts of its eight parts.
  void add_parts(const int (&step)[3], const std::array<uint8_t, 8>& widths) {
    for (int part = 0; part < 8; ++part) {
      if (widths[part] == 0) continue;
      Source& source = sources_[num_sources_++];
      for (int a = 0; a < 3; ++a) source.place[a] = 4 * step[a] + 1 + 2 * (part >> a & 1);
      source.blur = 0;
      source.width = widths[part];
    }
  }

  // How much of the density at the centers of two boxes is at the second, in 1/4096.
  int share(const int (&low)[3], const int (&high)[3]) const {
    int64_t sums[2] = {kEven, kEven};
    for (int s = 0; s < num_sources_; ++s) {
      const Source& source = sources_[s];
      sums[0] += source.width * falloff_[source.blur + distance(source, low)];
      sums[1] += source.width * falloff_[source.blur + distance(source, high)];
    }
    return static_cast<int>(4096 * sums[1] / (sums[0] + sums[1]));
  }

 private:
  static constexpr int kReach = 128;  // more than 3 * 6 * 6 + 2
  static constexpr int64_t kEven = 1 << 16;

  struct Source {
    int place[3];  // in quarters of a side, as are boxes
    int blur;      // of unknown place, added to squared distances
    int width;
  };

  static int distance(const Source& source, const int (&box)[3]) {
    int sum = 0;
    for (int a = 0; a < 3; ++a) sum += (source.place[a] - box[a]) * (source.place[a] - box[a]);
    return sum;
  }

  int64_t falloff_[kReach];
  Source sources_[26 * 8];
  int num_sources_ = 0;
};

int width_of(uint32_t count) { return static_cast<int>(std::bit_width(count)); }

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
    parts_.assign(cells.size(), {});
    long first = 0;
    for (size_t i = 0; i < cells.size(); ++i) {
      look_around(cells, i, table);
      const size_t before = next.size();
      split_axis(cells[i], 2, first, upper, next);
      for (size_t n = before; n < next.size(); ++n) {
        const uint32_t* c = next[n].corner;
        parts_[i][(c[0] & 1) | (c[1] & 1) << 1 | (c[2] & 1) << 2] =
            static_cast<uint8_t>(width_of(next[n].count));
      }
      first += cells[i].count;
    }
    return next;
  }

 private:
  void look_around(std::vector<Cell>& cells, size_t index, const CellTable& table) {
    Cell& cell = cells[index];
    neighbors_ = 0;
    density_.clear();
    std::fill_n(lean_, 3, 0);
    for (auto& pair : faces_) pair[0] = pair[1] = 0;
    for (int n = 0; n < 27 && !cell.alone; ++n) {
      const int step[3] = {n % 3 - 1, n / 3 % 3 - 1, n / 9 - 1};
      const uint32_t corner[3] = {cell.corner[0] + step[0], cell.corner[1] + step[1],
                                  cell.corner[2] + step[2]};
      const long found = n == 13 ? -1 : table.find(corner);
      if (found < 0) continue;
      ++neighbors_;
      const int width = width_of(cells[found].count);
      if (found < static_cast<long>(index)) density_.add_parts(step, parts_[found]);
      else density_.add_cell(step, width);
      const int presence = 1 + 3 * std::min(6, width);
      const int far = std::abs(step[0]) + std::abs(step[1]) + std::abs(step[2]);
      for (int axis = 0; axis < 3; ++axis) {
        lean_[axis] += step[axis] * (8 >> far) * presence;
        if (far == 1 && step[axis]) faces_[axis][step[axis] > 0] = presence;
      }
    }
    cell.alone = neighbors_ == 0;
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
      if (part.count < cell.count) part.alone = false;  // the other half is a neighbor
      part.corner[axis] = cell.corner[axis] << 1 | static_cast<uint32_t>(side);
      if (axis == 0) next.push_back(part);
      else split_axis(part, axis - 1, side ? first + n - high : first, upper, next);
    }
  }

  // How many of n points lie in the upper half.
  int code_count(const Cell& cell, int axis, int n, int k) {
    if (n == 1 && cell.alone) return model_.decide_evenly(k == 1);
    const int width = width_of(cell.count);
    const int share = neighbors_ ? share_above(cell, axis) : 2048;
    const uint32_t size = static_cast<uint32_t>(n < 8 ? n : 8 + width) << 2 |
                          static_cast<uint32_t>(axis);
    set_contexts(axis, size * 0x7FEB352Du, static_cast<uint32_t>(share) >> 7);
    const int set = axis * 32 + (neighbors_ ? 16 : 0) + width / 2;
    const int given = n == 1 && neighbors_ ? model_.tables().logit[share] : 0;
    const auto decide = [&](bool bit) { return model_.decide(bit, set, &given); };
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

  // How much of the density lies in the upper half along `axis`, in 1/4096.
  int share_above(const Cell& cell, int axis) const {
    int low[3], high[3];
    for (int a = 0; a < 3; ++a) {  // halves along the axes above are known
      low[a] = a > axis ? 1 + 2 * static_cast<int>(cell.corner[a] & 1) : a == axis ? 1 : 2;
      high[a] = a == axis ? 3 : low[a];
    }
    return density_.share(low, high);
  }

  void set_contexts(int axis, uint32_t size, uint32_t share) {
    const uint32_t below = static_cast<uint32_t>(faces_[axis][0]);
    const uint32_t above = static_cast<uint32_t>(faces_[axis][1]);
    model_.set_contexts({
        size + level_,
        size + share,
        size + (share << 5 | static_cast<uint32_t>(neighbors_)),
        size + quantize(lean_[axis] >> 2),
        size + (above << 8 | below),
    });
  }

  ContextModel<Coder, kContexts, 1> model_;
  Density density_;
  std::vector<std::array<uint8_t, 8>> parts_;  // widths of their counts, of cells that are split
  int lean_[3] = {};                           // neighbors above minus below, weighted, per axis
  int faces_[3][2] = {};                       // presence of the neighbors below and above
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
