// Fused photometric loss: (1 - w) * L1 + w * (1 - SSIM) and its gradient in one pass.
#pragma once
#include <cstdint>

namespace fieldwright {

struct LossProblem {
  const float* image;    // [height, width, 3]
  const float* target;   // [height, width, 3]
  const uint8_t* mask;   // [height, width], 0 where the pixel does not count; may be null
  float* gradient;       // [height, width, 3], d loss / d image
  int height, width;
  float l1_weight;       // d loss / d |image - target| of one value
  float ssim_weight;     // -d loss / d SSIM of one value
};

// The image is cut into tiles of at most kTileRows x kTileColumns pixels: small enough that the
// scratch of one tile stays in a 1 MB L2 cache, large enough that the 10-pixel rim, which
// neighbouring tiles compute twice, stays cheap. The cut depends on the image size only.
struct TileGrid {
  static constexpr int kTileRows = 48, kTileColumns = 288;
  int rows, columns;
  TileGrid(int height, int width)
      : rows((height + kTileRows - 1) / kTileRows),
        columns((width + kTileColumns - 1) / kTileColumns) {}
  int count() const { return rows * columns; }
};

// Sums over the valid values of one tile.
struct LossSums {
  double absolute = 0, ssim = 0;
};

#define FIELDWRIGHT_DECLARE(isa) \
  namespace isa { void ssim_tile(const LossProblem& problem, int tile, LossSums& sums); }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
