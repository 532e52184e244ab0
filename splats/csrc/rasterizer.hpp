// Arguments of the rasteriser's kernels. All arrays are dense, row-major, float32 unless stated;
// one call handles one camera. Shapes use N Gaussians, P = width * height pixels, D channels.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

namespace fieldwright {

constexpr int kTile = 8;             // pixels along a tile's side: 64 pixels are 4 AVX-512 vectors
constexpr float kMinAlpha = 1.0f / 255.0f;
constexpr float kMaxAlpha = 0.99f;
constexpr float kMinTransmittance = 1e-4f;

struct Camera {
  float R[9], t[3];  // world to camera
  float fx, fy, cx, cy;
  int width, height;
};

struct ProjectArgs {
  long N;
  Camera camera;
  float eps2d, near_plane, far_plane, radius_clip;
  const float *means, *quats, *scales, *opacities;  // [N,3] [N,4] [N,3] [N]
  int32_t* radii;                                   // [N,2], 0 where culled
  float *means2d, *depths, *conics, *compensations;  // [N,2] [N] [N,3] [N]; the last may be null
};

struct ProjectBackwardArgs {
  long N;
  Camera camera;
  float eps2d;
  const float *means, *quats, *scales;
  const int32_t* radii;
  const float *v_means2d, *v_depths, *v_conics, *v_compensations;  // depths, comp. may be null
  float *v_means, *v_quats, *v_scales;  // accumulated into
  double* v_view;                       // [12]: dL/dR then dL/dt, accumulated into; may be null
};

// Coefficients may live in one array [N,K,3] or in two (degree 0 and the rest): both are given
// as pointers with a row stride in floats.
struct ShArgs {
  long N;
  int degree;
  Camera camera;
  const float* means;        // [N,3]
  const float *sh0, *shN;    // first row of 3 and of 3 (K - 1) values
  long stride0, strideN;
  int rest;                  // coefficients from degree 1 on that each Gaussian has, used or not
  const int32_t* radii;      // [N,2]
  float* colors;             // [N,3] = max(SH + 0.5, 0), 0 where culled
};

struct ShBackwardArgs {
  ShArgs forward;            // `colors` as the forward pass left them
  const float* v_colors;     // [N,3]
  float* v_means;            // [N,3], accumulated into; may be null
  bool accumulate;           // add to v_sh0 and v_shN instead of writing every row
  float *v_sh0, *v_shN;      // laid out as sh0 and shN
  double* v_view;            // [12] as above; may be null
};

// One Gaussian as the blending loop reads it, by depth rank.
struct alignas(32) Splat {
  float x, y;     // centre, pixels
  float a, b, c;  // log2(alpha) = l + a dx^2 + b dx dy + c dy^2
  float l;        // log2(opacity)
  float opacity;
  int32_t index;  // position in the caller's arrays
};

// One splat in one tile's list, and the slot that its gradient from this tile goes to.
struct Entry {
  uint32_t rank, slot;
};

// Gaussians of one camera sorted by depth, and for each tile the ranks that touch it.
struct Bins {
  int width = 0, height = 0, tiles_x = 0, tiles_y = 0;
  std::unique_ptr<Splat[]> splats;     // by depth rank
  long num_visible = 0;
  std::vector<uint32_t> slot_begin;    // [visible + 1]: first (rank, tile) slot of each rank
  std::vector<uint32_t> tile_begin;    // [tiles + 1]: first list entry of each tile
  std::unique_ptr<Entry[]> entries;    // tile by tile, front to back
  long num_entries = 0;
  std::vector<uint8_t> pixel_mask;     // [height * width] pixels to draw; empty means all
};

struct BinArgs {
  long N;
  int width, height;
  const float *means2d, *conics, *opacities, *depths;  // [N,2] [N,3] [N] [N]
  const int32_t* radii;                                // [N,2]
};

struct BlendArgs {
  const Bins* bins;
  int D;                                 // 1 to 4
  const float* colors;                   // [N,D]
  const float* background;               // [D] or null
  float *image, *alpha, *transmittance;  // [P,D] [P] [P]
  uint32_t* used;                        // [tiles] list entries read before the tile was opaque
};

struct BlendBackwardArgs {
  BlendArgs forward;                     // with `image`, `transmittance`, `used` as left by blend
  const float *v_image, *v_alpha;        // [P,D] [P]
  long N;
  float *v_means2d, *v_conics, *v_colors, *v_opacities;  // written; zero where unseen
  float* v_abs_means2d;                  // [N,2], accumulated into, or null
  double* v_background;                  // [D], accumulated into, or null
};

}  // namespace fieldwright

#define FIELDWRIGHT_DECLARE_RASTERIZER(ISA)   \
  namespace fieldwright::ISA {                \
  void project(const ProjectArgs&);           \
  /* Depth order by radix sort, exact tile lists by a stable counting sort: the same lists  \
     for any number of threads. Throws std::length_error above 2^31 entries. */             \
  void build_bins(const BinArgs&, Bins&);     \
  void project_backward(const ProjectBackwardArgs&); \
  void sh_colors(const ShArgs&);              \
  void sh_colors_backward(const ShBackwardArgs&);    \
  void blend(const BlendArgs&);                \
  void blend_backward(const BlendBackwardArgs&);     \
  }
FIELDWRIGHT_DECLARE_RASTERIZER(portable)
FIELDWRIGHT_DECLARE_RASTERIZER(avx2)
FIELDWRIGHT_DECLARE_RASTERIZER(avx512)
