// Arguments of the rasteriser's kernels. All arrays are dense, row-major, float32 unless stated;
// one call handles one camera. Shapes use N Gaussians, P = width * height pixels, D channels.
#pragma once
#include <cstdint>
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
  float *means2d, *depths, *conics, *compensations; // [N,2] [N] [N,3] [N]
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

struct ShArgs {
  long N;
  int degree;
  int K;  // coefficients stored per Gaussian, at least (degree + 1)^2
  Camera camera;
  const float *means, *sh0, *shN;  // [N,3] [N,1,3] [N,K-1,3]
  const int32_t* radii;
  float* colors;                   // [N,3] = max(SH + 0.5, 0), 0 where culled
};

struct ShBackwardArgs {
  long N;
  int degree, K;
  Camera camera;
  const float *means, *sh0, *shN, *colors, *v_colors;
  const int32_t* radii;
  float *v_means, *v_sh0, *v_shN;  // v_means accumulated into, the others written
  double* v_view;                  // as above; may be null
};

// One Gaussian as the blending loop reads it, in depth order; one cache line.
struct alignas(64) Splat {
  float x, y;        // centre, pixels
  float a, b, c;     // conic times -log2(e) / 2, so that log2(alpha) = l + a dx^2 + 2 b dx dy + c dy^2
  float l;           // log2(opacity)
  float color[4];
  int32_t index;     // position in the caller's arrays
  float opacity;
  float pad[4];
};

// Gaussians of one camera sorted by depth, and for each tile the ranks that touch it.
struct Bins {
  int tiles_x = 0, tiles_y = 0;
  std::vector<Splat> splats;            // by depth rank
  std::vector<uint32_t> slot_begin;     // [visible + 1]: first (rank, tile) slot of each rank
  std::vector<uint32_t> tile_begin;     // [tiles + 1]: first list entry of each tile
  std::vector<uint32_t> ranks, slots;   // per list entry, tile by tile, front to back
  std::vector<uint32_t> tile_used;      // entries a tile read before all its pixels were opaque
  long num_pairs() const { return static_cast<long>(ranks.size()); }
};

struct BinArgs {
  long N;
  int width, height, D;
  const float *means2d, *conics, *colors, *opacities, *depths;
  const int32_t* radii;
};

// Depth order by radix sort, exact tile lists by a stable counting sort; the same lists for any
// number of threads.
void build_bins(const BinArgs& args, Bins& bins);

struct BlendArgs {
  Bins* bins;
  int width, height, D;
  const float* background;   // [D] or null
  const uint8_t* mask;       // [P] pixels to draw, or null
  float *image, *alpha, *transmittance;  // [P,D] [P] [P]
  long long evaluations;     // out: splat-pixel pairs evaluated
};

struct BlendBackwardArgs {
  const Bins* bins;
  int width, height, D;
  const float* background;
  const uint8_t* mask;
  const float *image, *transmittance, *v_image, *v_alpha;  // v_alpha may be null
  long N;
  float *v_means2d, *v_conics, *v_colors, *v_opacities;    // written, zero where unseen
  float* v_abs_means2d;                                    // [N,2] or null
  double* v_background;                                    // [D], accumulated into, or null
};

}  // namespace fieldwright

#define FIELDWRIGHT_DECLARE_RASTERIZER(ISA)   \
  namespace fieldwright::ISA {                \
  void project(const ProjectArgs&);           \
  void project_backward(const ProjectBackwardArgs&); \
  void sh_colors(const ShArgs&);              \
  void sh_colors_backward(const ShBackwardArgs&);    \
  void blend(BlendArgs&);                     \
  void blend_backward(const BlendBackwardArgs&);     \
  }
FIELDWRIGHT_DECLARE_RASTERIZER(portable)
FIELDWRIGHT_DECLARE_RASTERIZER(avx2)
FIELDWRIGHT_DECLARE_RASTERIZER(avx512)
