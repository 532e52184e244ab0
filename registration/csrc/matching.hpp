// Nearest and second nearest rows of one table for every row of another.
#pragma once
#include <cstdint>

namespace fieldwright {

// Rows in tiles of 16: [tiles, dims, 16], the rest of the last tile infinitely far by its norm.
struct Table {
  long rows;
  int dims;
  const float* tiles;
  const float* half_norms;  // [16 tiles]
};

#define FIELDWRIGHT_DECLARE(isa)                                                              \
  namespace isa {                                                                             \
  void match_rows(const Table& table, const float* queries, long begin, long end,             \
                  int32_t* best, float* scores);                                              \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
