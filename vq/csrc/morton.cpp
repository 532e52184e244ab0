#include "morton.hpp"

#include "thread_pool.hpp"

namespace fieldwright {
namespace {

// Bit k of the lowest 21 moves to bit 3k: five doublings of the gap.
inline uint64_t spread(uint64_t v) {
  v &= 0x1fffff;
  v = (v | v << 32) & 0x1f00000000ffff;
  v = (v | v << 16) & 0x1f0000ff0000ff;
  v = (v | v << 8) & 0x100f00f00f00f00f;
  v = (v | v << 4) & 0x10c30c30c30c30c3;
  return (v | v << 2) & 0x1249249249249249;
}

}  // namespace

void morton_codes(const uint32_t* points, long count, uint64_t* codes) {
  parallel_ranges(count, 1 << 14, [&](long begin, long end, int) {
    for (long i = begin; i < end; ++i)
      codes[i] = spread(points[3 * i]) | spread(points[3 * i + 1]) << 1 |
                 spread(points[3 * i + 2]) << 2;
  });
}

}  // namespace fieldwright
