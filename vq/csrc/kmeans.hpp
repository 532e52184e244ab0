// Exact nearest centers, pruned by rigorous lower bounds; the bounds are explained in vq/search.py.
#pragma once
#include <cstdint>

namespace fieldwright {

constexpr int kGroup = 64;      // centers per group
constexpr int kMaxPairs = 24;   // 48 lattice coordinates at most
constexpr int kLatticeMax = 5400;  // 1.5 * 48 * 5400^2 < 2^31: scores fit in 32 bits
constexpr int kBatch = 128;     // points whose state is held at a time

// Centers in groups of 64. Position p = 64 g + lane holds center ids[p] (-1 where there is none).
struct CenterGroups {
  int width;                  // floats per row, a multiple of 16
  int leading;                // coordinates taken as they are; the rest enters as its norm
  int pairs;                  // pairs of lattice coordinates: a multiple of 4, at most 24
  long num_groups;
  const float* rows;          // [64 num_groups, width]
  const int32_t* ids;         // [64 num_groups]
  const int16_t* tiles;       // [num_groups, pairs, 64, 2]: lattice coordinates
  const int32_t* half_norms;  // [64 num_groups]: half the squared lattice norm, rounded up
  const float* slack;         // [num_groups]: largest distance of a center from its lattice point
  const int16_t* hub_tiles;   // the same for the means of the groups, 64 to a tile
  const int32_t* hub_norms;
  const float* reach;         // [num_groups]: radius about the hub, plus the hub's own slack
  float step;                 // lattice step; all distances above are in steps
};

// Points [begin, end) to search, and what is remembered between searches.
struct SearchProblem {
  const float* points;     // [n, width]
  int32_t* positions;      // [n]: in: a position to start from, or -1; out: the nearest
  float* costs;            // [n]: squared distance to it
  uint16_t* bounds;        // [n, stride] lower bounds in units of 2 steps, or null
  long stride;             // num_groups rounded up to a multiple of 32
  bool remembered;         // whether bounds hold values
  const uint16_t* drift;   // [stride]: how far each group moved since, in units, rounded up
};

#define FIELDWRIGHT_DECLARE(isa)                                                        \
  namespace isa {                                                                       \
  void search_nearest(const CenterGroups& centers, const SearchProblem& problem,        \
                      long begin, long end, long* scanned);                             \
  void add_rows(const float* points, const float* weights, const int64_t* order,        \
                long begin, long end, int width, double* sum, double* weight);          \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
