#include "voxels.hpp"

#include <algorithm>

namespace fieldwright {
namespace {

constexpr uint64_t kMask = (1u << 21) - 1;

uint64_t key_of(const float* p, const float* origin, float inverse) {
  uint64_t key = 0;
  for (int a = 2; a >= 0; --a) {
    const float cell = (p[a] - origin[a]) * inverse;
    // One cell of margin on either side, for the neighbors' keys.
    const uint64_t c = cell < 0 ? 1 : std::min<uint64_t>(static_cast<uint64_t>(cell) + 1, kMask - 1);
    key = key << 21 | c;
  }
  return key;
}

uint64_t spread(uint64_t x) {
  x &= kMask;
  x = (x | x << 32) & 0x001f00000000ffffull;
  x = (x | x << 16) & 0x001f0000ff0000ffull;
  x = (x | x << 8) & 0x100f00f00f00f00full;
  x = (x | x << 4) & 0x10c30c30c30c30c3ull;
  return (x | x << 2) & 0x1249249249249249ull;
}

// Stable radix sort of indices by key, 11 bits at a time; digits that are all equal are skipped.
void sort_by_key(std::vector<uint64_t>& keys, std::vector<int32_t>& order) {
  constexpr int kBits = 11, kSize = 1 << kBits;
  std::vector<uint64_t> other_keys(keys.size());
  std::vector<int32_t> other(order.size());
  uint64_t varying = 0;
  for (const uint64_t key : keys) varying |= key ^ keys[0];
  for (int shift = 0; shift < 63; shift += kBits) {
    if ((varying >> shift & (kSize - 1)) == 0) continue;
    std::vector<long> first(kSize + 1, 0);
    for (const uint64_t key : keys) ++first[(key >> shift & (kSize - 1)) + 1];
    for (int d = 0; d < kSize; ++d) first[d + 1] += first[d];
    for (size_t i = 0; i < keys.size(); ++i) {
      const long place = first[keys[i] >> shift & (kSize - 1)]++;
      other_keys[place] = keys[i];
      other[place] = order[i];
    }
    keys.swap(other_keys);
    order.swap(other);
  }
}

}  // namespace

VoxelGroups group_by_voxel(const float* points, long count, const float* origin, float size) {
  VoxelGroups groups;
  std::vector<uint64_t> keys(count);
  groups.order.resize(count);
  const float inverse = 1 / size;
  for (long i = 0; i < count; ++i) {
    keys[i] = key_of(points + 3 * i, origin, inverse);
    groups.order[i] = static_cast<int32_t>(i);
  }
  if (count > 0) sort_by_key(keys, groups.order);
  std::vector<uint64_t> voxels;
  for (long i = 0; i < count; ++i)
    if (i == 0 || keys[i] != keys[i - 1]) {
      groups.starts.push_back(static_cast<int32_t>(i));
      voxels.push_back(keys[i]);
    }
  groups.starts.push_back(static_cast<int32_t>(count));
  groups.around.assign(voxels.size(), 0);
  // Nine rows of three neighbors: each row is a run of sorted keys, followed by a moving cursor.
  for (int64_t dz = -1; dz <= 1; ++dz)
    for (int64_t dy = -1; dy <= 1; ++dy) {
      const uint64_t offset = static_cast<uint64_t>(dz * (int64_t{1} << 42));
      size_t cursor = 0;
      for (size_t v = 0; v < voxels.size(); ++v) {
        const uint64_t low =
            voxels[v] + offset + static_cast<uint64_t>(dy * (int64_t{1} << 21)) - 1;
        while (cursor < voxels.size() && voxels[cursor] < low) ++cursor;
        for (size_t n = cursor; n < voxels.size() && voxels[n] <= low + 2; ++n)
          groups.around[v] += groups.starts[n + 1] - groups.starts[n];
      }
    }
  return groups;
}

void count_voxels(const float* points, long count, const float* origin, float finest, int levels,
                  const int32_t* needed, int32_t* counts) {
  std::vector<uint64_t> codes(count);
  std::vector<int32_t> order(count);
  const float inverse = 1 / finest;
  for (long i = 0; i < count; ++i) {
    for (int a = 0; a < 3; ++a) {
      const float cell = (points[3 * i + a] - origin[a]) * inverse;
      const uint64_t c = cell < 0 ? 0 : std::min<uint64_t>(static_cast<uint64_t>(cell), kMask);
      codes[i] |= spread(c) << a;
    }
  }
  if (count > 0) sort_by_key(codes, order);
  for (int level = 0; level < levels; ++level) {
    counts[level] = 0;
    int32_t inside = 0;
    for (long i = 0; i < count; ++i) {
      ++inside;
      if (i + 1 < count && codes[i + 1] >> (3 * level) == codes[i] >> (3 * level)) continue;
      counts[level] += inside >= needed[level];
      inside = 0;
    }
  }
}

}  // namespace fieldwright
