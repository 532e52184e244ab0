// Points grouped by the cube of a regular grid they lie in.
#pragma once
#include <cstdint>
#include <vector>

namespace fieldwright {

struct VoxelGroups {
  std::vector<int32_t> order;   // points by voxel, in their own order inside one
  std::vector<int32_t> starts;  // first of each voxel in `order`, and the number of points
  std::vector<int32_t> around;  // points in the 3 x 3 x 3 voxels around each
};

// `origin` lies below every point.
VoxelGroups group_by_voxel(const float* points, long count, const float* origin, float size);

// Occupied voxels of 2^k times the finest size, k = 0 .. levels - 1, that hold at least `needed[k]`
// points. One sort serves all sizes. Levels at most 21.
void count_voxels(const float* points, long count, const float* origin, float finest, int levels,
                  const int32_t* needed, int32_t* counts);

}  // namespace fieldwright
