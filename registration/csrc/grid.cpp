#include "grid.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "thread_pool.hpp"

namespace fieldwright {

NearestGrid::NearestGrid(const float* points, const float* normals, long count, float cell,
                         float reach)
    : count_(count),
      cell_(cell),
      inverse_(1 / cell),
      points_(points, points + 3 * count),
      normals_(normals, normals + 3 * count) {
  constexpr int64_t kMost = (1 << 21) * kBlock - 1;
  for (int a = 0; a < 3; ++a) {
    float low = std::numeric_limits<float>::infinity(), high = -low;
    for (long i = 0; i < count; ++i) {
      low = std::min(low, points[3 * i + a]);
      high = std::max(high, points[3 * i + a]);
    }
    origin_[a] = low - reach - cell;
    const float cells = std::ceil((high + reach + cell - origin_[a]) * inverse_);
    limit_[a] = std::min(cells, static_cast<float>(kMost));
  }
  keys_.assign(1024, 0);
  blocks_.assign(1024, -1);
  shift_ = 64 - 10;
  std::vector<std::vector<int32_t>> layers;
  int64_t first[3], last[3];
  for (long i = 0; i < count; ++i) {
    bool inside = true;
    for (int a = 0; a < 3; ++a) {
      const float low = (points[3 * i + a] - reach - origin_[a]) * inverse_;
      const float high = (points[3 * i + a] + reach - origin_[a]) * inverse_;
      inside = inside && low >= 0 && high < limit_[a];
      first[a] = static_cast<int64_t>(low) >> 3;
      last[a] = static_cast<int64_t>(high) >> 3;
    }
    if (!inside) continue;
    if (static_cast<int64_t>(layers.size()) <= last[2]) layers.resize(last[2] + 1);
    for (int64_t z = first[2]; z <= last[2]; ++z) {
      layers[z].push_back(static_cast<int32_t>(i));
      for (int64_t y = first[1]; y <= last[1]; ++y)
        for (int64_t x = first[0]; x <= last[0]; ++x) add_block(key(x, y, z));
    }
  }
  cells_.assign(static_cast<long>(num_blocks_) * kCells, -1);
  std::vector<float> distances(cells_.size(), reach * reach);
  parallel_for(static_cast<int>(layers.size()),
               [&](int layer) { fill(layer, reach, layers[layer], distances); });
}

void NearestGrid::grow() {
  std::vector<uint64_t> keys(keys_.size() * 2);
  std::vector<int32_t> blocks(keys.size(), -1);
  keys.swap(keys_);
  blocks.swap(blocks_);
  --shift_;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (blocks[i] < 0) continue;
    size_t s = slot(keys[i]);
    while (blocks_[s] >= 0) s = (s + 1) & (keys_.size() - 1);
    keys_[s] = keys[i];
    blocks_[s] = blocks[i];
  }
}

int32_t NearestGrid::add_block(uint64_t wanted) {
  if (4 * static_cast<size_t>(num_blocks_ + 1) > keys_.size()) grow();
  size_t s = slot(wanted);
  while (blocks_[s] >= 0) {
    if (keys_[s] == wanted) return blocks_[s];
    s = (s + 1) & (keys_.size() - 1);
  }
  keys_[s] = wanted;
  return blocks_[s] = num_blocks_++;
}

// Cells of one layer of blocks; points in their order, so that ties fall to the first.
void NearestGrid::fill(int64_t layer, float reach, const std::vector<int32_t>& members,
                       std::vector<float>& distances) {
  for (const int32_t i : members) {
    const float* p = points_.data() + 3l * i;
    int64_t first[3], last[3];
    float local[3];
    for (int a = 0; a < 3; ++a) {
      local[a] = (p[a] - origin_[a]) * inverse_ - 0.5f;
      first[a] = static_cast<int64_t>(std::ceil(local[a] - reach * inverse_));
      last[a] = static_cast<int64_t>(std::floor(local[a] + reach * inverse_));
      first[a] = std::max<int64_t>(first[a], 0);
    }
    first[2] = std::max(first[2], layer * kBlock);
    last[2] = std::min(last[2], layer * kBlock + kBlock - 1);
    for (int64_t z = first[2]; z <= last[2]; ++z)
      for (int64_t y = first[1]; y <= last[1]; ++y) {
        const float dz = (static_cast<float>(z) - local[2]) * cell_;
        const float dy = (static_cast<float>(y) - local[1]) * cell_;
        const float rest = dz * dz + dy * dy;
        if (rest >= reach * reach) continue;
        const float half = std::sqrt(reach * reach - rest) * inverse_;
        const int64_t from = std::max<int64_t>(static_cast<int64_t>(std::ceil(local[0] - half)), 0);
        const int64_t to = static_cast<int64_t>(std::floor(local[0] + half));
        int64_t cached = -1;
        long base = 0;
        for (int64_t x = from; x <= to; ++x) {
          if (x >> 3 != cached) {
            cached = x >> 3;
            base = static_cast<long>(find_block(key(cached, y >> 3, z >> 3))) * kCells +
                   (((z & 7) << 6) | ((y & 7) << 3));
          }
          const float dx = (static_cast<float>(x) - local[0]) * cell_;
          const float squared = rest + dx * dx;
          if (squared >= distances[base + (x & 7)]) continue;
          distances[base + (x & 7)] = squared;
          cells_[base + (x & 7)] = i;
        }
      }
  }
}

}  // namespace fieldwright
