// Morton (Z-order) codes of points on a 3-D lattice.
#pragma once
#include <cstdint>

namespace fieldwright {

// codes[i] interleaves the lowest 21 bits of x, y and z of point i; x takes the lowest bit.
void morton_codes(const uint32_t* points, long count, uint64_t* codes);

}  // namespace fieldwright
