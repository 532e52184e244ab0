// Which point of a cloud is nearest to a place, in one look-up: a sparse grid of cells that know
// the point nearest to their centers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fieldwright {

class NearestGrid {
 public:
  static constexpr int kBlock = 8;  // cells along an edge of a block
  static constexpr int kCells = kBlock * kBlock * kBlock;

  // Every cell whose center lies within `reach` of a point knows one.
  NearestGrid(const float* points, const float* normals, long count, float cell, float reach);

  long count() const { return count_; }
  const float* points() const { return points_.data(); }
  const float* normals() const { return normals_.data(); }
  float cell() const { return cell_; }

  // Index of the point, -1 where none is near.
  int32_t find(const float* place) const {
    int64_t c[3];
    for (int a = 0; a < 3; ++a) {
      const float scaled = (place[a] - origin_[a]) * inverse_;
      if (!(scaled >= 0 && scaled < limit_[a])) return -1;
      c[a] = static_cast<int64_t>(scaled);
    }
    const int32_t block = find_block(key(c[0] >> 3, c[1] >> 3, c[2] >> 3));
    if (block < 0) return -1;
    return cells_[static_cast<long>(block) * kCells +
                  (((c[2] & 7) << 6) | ((c[1] & 7) << 3) | (c[0] & 7))];
  }

 private:
  static uint64_t key(int64_t x, int64_t y, int64_t z) {
    return static_cast<uint64_t>(x) | static_cast<uint64_t>(y) << 21 |
           static_cast<uint64_t>(z) << 42;
  }
  size_t slot(uint64_t key) const { return (key * 0x9E3779B97F4A7C15ull >> shift_); }
  int32_t find_block(uint64_t wanted) const {
    for (size_t s = slot(wanted);; s = (s + 1) & (keys_.size() - 1)) {
      if (blocks_[s] < 0) return -1;
      if (keys_[s] == wanted) return blocks_[s];
    }
  }
  void grow();
  int32_t add_block(uint64_t key);
  void fill(int64_t layer, float reach, const std::vector<int32_t>& members,
            std::vector<float>& distances);

  long count_;
  float cell_, inverse_, origin_[3], limit_[3];
  std::vector<float> points_, normals_;
  std::vector<uint64_t> keys_;
  std::vector<int32_t> blocks_, cells_;
  int shift_ = 64;
  int32_t num_blocks_ = 0;
};

}  // namespace fieldwright
