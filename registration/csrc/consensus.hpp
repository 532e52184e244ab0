// Poses on which many correspondences agree, found from second-order compatibility.
#pragma once
#include <cstdint>

namespace fieldwright {

struct Correspondences {
  long count;
  long words;              // 64-bit words per row of the graph
  const float* source;     // [3, padded]
  const float* target;     // [3, padded]
  long padded;             // count rounded up to 64
  uint64_t* graph;         // [count, words]: which pairs keep their distance
  float bound;             // by how much a distance may change
  float min_length;        // shorter pairs say nothing about a rotation
};

// One pose: rotation row by row, translation, number of correspondences within the bound.
struct Pose {
  double r[9], t[3];
  double inliers;
};

#define FIELDWRIGHT_DECLARE(isa)                                                                 \
  namespace isa {                                                                                \
  void link_compatible(const Correspondences& set, long begin, long end, int32_t* degrees);      \
  void second_order(const Correspondences& set, long begin, long end, int64_t* scores);          \
  void pose_from_seed(const Correspondences& set, long seed, int members, Pose& pose);           \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
