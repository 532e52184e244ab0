// Tri-vector leaves in an octree: layout, and the tape between forward and backward.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

namespace fieldwright {

constexpr int kMaxRank = 32;   // in eights: 8, 16, 24 or 32
constexpr int kMaxBases = 9;   // spherical harmonics up to degree 2
constexpr int kMaskSide = 4;   // occupancy of a leaf: 4 x 4 x 4 bits

// See fields/trivec/field.py for the equations.
struct TrivecModel {
  const float* vectors;    // [N, 3, D, R]: axis, node, rank; nodes at both faces of the leaf
  const float* densities;  // [N, R]
  const float* colors;     // [N, K, 3, R]
  const uint64_t* masks;   // [N]: bit 16 x + 4 y + z
  const uint8_t* ranks;    // [N]: multiples of 8; higher ranks are left out
  long leaves;
  int nodes, rank, bases;
  float shift, inverse_unit;  // density = softplus(feature + shift) * inverse_unit
};

struct OctreeView {
  // [M, 8]: at least 0 an inner node, -1 nothing, -2 - i leaf i; child 4 x + 2 y + z.
  const int32_t* children;
  float low[3], side;  // of the root's box
};

struct TrivecRays {
  const float* origins;     // [R, 3]
  const float* directions;  // [R, 3], unit length
  const float* jitter;      // [R] in [0, 1): where in its interval a sample lies
  const float* bases;       // [R, K]: spherical harmonics of the directions
  float step;               // samples are at most step x side of the leaf apart
  float early_stop;
};

struct TrivecOutput {
  float* colors;     // [R, 3]
  float* opacities;  // [R]
  float* distances;  // [R]
  float* medians;    // [R]
};

// The piece of a ray inside a leaf.
struct Segment {
  int32_t leaf, ray;
  int32_t first, count;  // of its samples in the tape of its range of rays
  float start, step;     // distance of the beginning, and between samples
  float local[3];        // where the ray enters, in the leaf's unit cube
  float slope[3];        // local movement per sample
};

// What backward needs of a sample. Backward overwrites the values by gradients.
struct Sample {
  int32_t number;  // in its segment, masked ones counted
  float absorbed;  // 1 - exp(-density * length); then d loss / d feature
  float slope;     // d (density * length) / d feature
  float color[3];  // then d loss / d (color before the sigmoid)
};

struct RangeTape {
  std::vector<Segment> segments;
  std::vector<Sample> samples;
  std::vector<int32_t> rays;  // segments of ray r of the range: rays[r] to rays[r + 1]
  long begin = 0;             // its first ray
};

struct Tape {
  std::vector<RangeTape> ranges;
  long num_rays = 0;
};

struct TrivecRayGradients {
  const float *colors, *opacities, *distances;
};

struct TrivecGradients {
  float *vectors, *densities, *colors;  // as in the model; rows of unseen leaves become 0
  uint8_t* seen;                        // [N]: 1 where a ray has sampled the leaf
};

// References to segments, sorted by leaf.
struct LeafLists {
  std::vector<int32_t> offsets;                    // [N + 1]
  std::vector<std::pair<int32_t, int32_t>> items;  // range and number of the segment
};

#define FIELDWRIGHT_DECLARE(isa)                                                                  \
  namespace isa {                                                                                 \
  /* `tape` may be null: nothing is recorded then. */                                            \
  void trivec_rays(const TrivecModel& model, const OctreeView& tree, const TrivecRays& rays,      \
                   const TrivecOutput& out, RangeTape* tape, long begin, long end);               \
  void trivec_ray_gradients(const TrivecRays& rays, const TrivecRayGradients& given,              \
                            RangeTape& tape);                                                     \
  void trivec_leaf_gradients(const TrivecModel& model, const TrivecRays& rays, const Tape& tape,  \
                             const LeafLists& lists, const TrivecGradients& out, long begin,      \
                             long end);                                                           \
  /* Density and color of points given by leaf and local position. */                            \
  void trivec_points(const TrivecModel& model, const int32_t* leaves, const float* local,         \
                     const float* bases, float* densities, float* colors, long begin, long end);  \
  /* Optical depth per unit on a lattice of `side`^3 points, faces included, of each leaf. */     \
  void trivec_lattice(const TrivecModel& model, int side, float* densities, long begin, long end); \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
