// Nearest codes, where every point says in which group of codes to look; see vq/group_search.py.
#pragma once
#include <cstdint>

namespace fieldwright {

struct GroupSearch {
  int width;                   // floats per row
  const float* points;         // [n, width]
  const int32_t* rows;         // [m]: point of each search
  const float* codes;          // [k, width]
  const int64_t* code_starts;  // [groups + 1]: codes of each group
  int32_t* indices;            // [m]: out: nearest code, -1 where the group is empty
  float* costs;                // [m]: out: squared distance to it, infinite where there is none
};

// search_group does searches [begin, end), all of one group.
#define FIELDWRIGHT_DECLARE(isa)                                                       \
  namespace isa {                                                                      \
  void search_group(const GroupSearch& problem, long group, long begin, long end);     \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
