// Triangles into pixels, and depth maps into signed distances; twins in fields/meshes.
#pragma once
#include <cstdint>

namespace fieldwright {

struct TriangleProblem {
  const double* corners;         // [F, 3, 2] pixels
  const double* inverse_depths;  // [F, 3]
  int width, height;
  int32_t* faces;   // [H, W], -1 on entry
  float* weights;   // [H, W, 3], 0 on entry
  float* nearness;  // [H, W] inverse depths, 0 on entry
};

// Draws the triangles listed in `chosen` into the rows [top, bottom).
void draw_triangles(const TriangleProblem& problem, const int32_t* chosen, long count, int top,
                    int bottom);

struct FusionProblem {
  const double* corners;  // [B, 3] of the bricks
  double spacing, truncation;
  const double* pose;     // world to camera [3, 4], then intrinsics [2, 3]
  const float* depths;    // [H, W]
  const float* weights;   // [H, W]
  const float* colors;    // [H, W, 3]
  int width, height;
  float* sums;         // [B, 8, 8, 8, 5]
  float* sum_weights;  // [B, 8, 8, 8]
};

// Adds one view to the bricks [begin, end).
void fuse_bricks(const FusionProblem& problem, long begin, long end);

}  // namespace fieldwright
