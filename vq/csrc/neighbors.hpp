// Nearest earlier points of a sequence: what a decoder already knows about the surroundings.
#pragma once
#include <cstdint>

namespace fieldwright {

// neighbors[i * k + r]: index of the (r + 1)-th nearest of points 0 .. i - 1 to point i by
// squared distance, the later index first where distances tie; -1 where there are fewer.
// Coordinates lie below 2^30. Exact; fast where points that follow each other are near.
void earlier_neighbors(const uint32_t* points, long count, int k, int32_t* neighbors);

}  // namespace fieldwright
