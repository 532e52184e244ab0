// Which Gaussians touch which tile, front to back.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "rasterizer.hpp"
#include "thread_pool.hpp"

namespace fieldwright::ISA {
namespace {

constexpr long kGrain = 4096;
constexpr float kHalfLog2e = 0.72134752044448170f;   // log2(e) / 2
constexpr float kMinLog2Alpha = -7.99435343685886f;  // log2(1 / 255)

struct Keyed {
  uint32_t key, index;
};

// Stable least-significant-digit radix sort of (depth bits, index). Positive floats order as
// their bit patterns do. Each pass counts per range, so ranges can scatter without meeting.
void sort_by_depth(std::vector<Keyed>& items) {
  constexpr int kBits = 11, kBuckets = 1 << kBits;
  std::vector<Keyed> other(items.size());
  const long size = static_cast<long>(items.size());
  const int ranges = static_cast<int>(std::clamp<long>(size / 16384, 1, num_threads()));
  std::vector<std::vector<uint32_t>> counts(ranges, std::vector<uint32_t>(kBuckets));
  for (int shift = 0; shift < 32; shift += kBits) {
    parallel_for(ranges, [&](int r) {
      auto& count = counts[r];
      std::fill(count.begin(), count.end(), 0);
      for (long i = size * r / ranges; i < size * (r + 1) / ranges; ++i)
        ++count[(items[i].key >> shift) & (kBuckets - 1)];
    });
    uint32_t total = 0;
    bool one_bucket = false;
    for (int b = 0; b < kBuckets; ++b) {
      const uint32_t before = total;
      for (auto& count : counts) {
        const uint32_t own = count[b];
        count[b] = total;
        total += own;
      }
      one_bucket |= total - before == size;
    }
    if (one_bucket) continue;
    parallel_for(ranges, [&](int r) {
      auto& next = counts[r];
      for (long i = size * r / ranges; i < size * (r + 1) / ranges; ++i)
        other[next[(items[i].key >> shift) & (kBuckets - 1)]++] = items[i];
    });
    items.swap(other);
  }
}

std::vector<Keyed> visible_by_depth(const BinArgs& a) {
  std::vector<uint32_t> begin(kMaxRanges + 1, 0);
  parallel_ranges(a.N, kGrain, [&](long from, long to, int range) {
    uint32_t count = 0;
    for (long i = from; i < to; ++i) count += a.radii[2 * i] > 0;
    begin[range + 1] = count;
  });
  for (int r = 0; r < kMaxRanges; ++r) begin[r + 1] += begin[r];
  std::vector<Keyed> items(begin[kMaxRanges]);
  parallel_ranges(a.N, kGrain, [&](long from, long to, int range) {
    uint32_t next = begin[range];
    for (long i = from; i < to; ++i)
      if (a.radii[2 * i] > 0) {
        uint32_t key;
        std::memcpy(&key, a.depths + i, sizeof(key));
        // Negative depths (an orthographic camera may see them) sort before positive ones.
        key = key & 0x80000000u ? ~key : key | 0x80000000u;
        items[next++] = {key, static_cast<uint32_t>(i)};
      }
  });
  sort_by_depth(items);
  return items;
}

// Tiles [x0, x1) of tile row y that one Gaussian touches.
struct Run {
  uint32_t rank;
  uint16_t y, x0, x1;
};

// Calls emit(y, x0, x1) for the rows of tiles that hold a pixel centre inside the ellipse
// q(d) = A dx^2 + 2 B dx dy + C dy^2 <= t, tested on each tile's hull of pixel centres. In a row
// the touched tiles are those that meet the ellipse's horizontal extent within the row's slab,
// because the slice of a convex set is an interval.
template <typename Emit>
inline void tiles_of(const BinArgs& a, long i, float log2_opacity, int tiles_x, int tiles_y,
                     Emit emit) {
  const float A = a.conics[3 * i], B = a.conics[3 * i + 1], C = a.conics[3 * i + 2];
  const float det = A * C - B * B;
  if (!(det > 0)) return;
  // A rounding error in t must never lose a pixel that blending would draw.
  const float t = (log2_opacity - kMinLog2Alpha) / kHalfLog2e * 1.00001f + 1e-5f;
  if (!(t > 0)) return;
  const float x_reach = std::sqrt(t * C / det), y_reach = std::sqrt(t * A / det);
  const float mx = a.means2d[2 * i], my = a.means2d[2 * i + 1];
  // The first tile whose last pixel centre is past v, and one past the tile that holds v.
  const auto first_tile = [](float v, int limit) {
    return static_cast<int>(std::clamp((v + 0.5f) * (1.0f / kTile), 0.0f, static_cast<float>(limit)));
  };
  const auto end_tile = [](float v, int limit) {
    return static_cast<int>(
        std::clamp((v - 0.5f) * (1.0f / kTile) + 1.0f, 0.0f, static_cast<float>(limit)));
  };
  const int y_first = first_tile(my - y_reach, tiles_y), y_last = end_tile(my + y_reach, tiles_y);
  const float y_right = -B / C * x_reach;  // height of the rightmost point; the leftmost mirrors it
  const float inv_A = 1.0f / A;
  for (int y = y_first; y < y_last; ++y) {
    const float low = std::max(y * kTile + 0.5f - my, -y_reach);
    const float high = std::min((y + 1) * kTile - 0.5f - my, y_reach);
    const float at_right = std::clamp(y_right, low, high), at_left = std::clamp(-y_right, low, high);
    const float right =
        (-B * at_right + std::sqrt(std::max(A * t - det * at_right * at_right, 0.0f))) * inv_A;
    const float left =
        (-B * at_left - std::sqrt(std::max(A * t - det * at_left * at_left, 0.0f))) * inv_A;
    const int x0 = first_tile(mx + left, tiles_x), x1 = end_tile(mx + right, tiles_x);
    if (x0 < x1) emit(y, x0, x1);
  }
}

}  // namespace

void build_bins(const BinArgs& a, Bins& bins) {
  bins.width = a.width, bins.height = a.height;
  bins.tiles_x = (a.width + kTile - 1) / kTile, bins.tiles_y = (a.height + kTile - 1) / kTile;
  const long tiles = static_cast<long>(bins.tiles_x) * bins.tiles_y;
  const std::vector<Keyed> order = visible_by_depth(a);
  const long visible = static_cast<long>(order.size());
  bins.splats.resize(visible);
  bins.slot_begin.assign(visible + 1, 0);

  // First pass: runs of tiles per range of ranks, and how many entries each tile gets from it.
  const int ranges = static_cast<int>(std::clamp<long>(visible / 2048, 1, num_threads()));
  std::vector<std::vector<Run>> runs(ranges);
  std::vector<std::vector<uint32_t>> next(ranges);
  parallel_for(ranges, [&](int r) {
    std::vector<uint32_t> count(tiles, 0);
    auto& mine = runs[r];
    mine.reserve(4 * (visible / ranges + 1));
    for (long rank = visible * r / ranges; rank < visible * (r + 1) / ranges; ++rank) {
      const long i = order[rank].index;
      const float o = a.opacities[i], log2_opacity = std::log2(std::max(o, 1e-30f));
      bins.splats[rank] = {a.means2d[2 * i],
                           a.means2d[2 * i + 1],
                           -kHalfLog2e * a.conics[3 * i],
                           -2 * kHalfLog2e * a.conics[3 * i + 1],
                           -kHalfLog2e * a.conics[3 * i + 2],
                           log2_opacity,
                           o,
                           static_cast<int32_t>(i)};
      uint32_t slots = 0;
      tiles_of(a, i, log2_opacity, bins.tiles_x, bins.tiles_y, [&](int y, int x0, int x1) {
        mine.push_back({static_cast<uint32_t>(rank), static_cast<uint16_t>(y),
                        static_cast<uint16_t>(x0), static_cast<uint16_t>(x1)});
        uint32_t* row = count.data() + static_cast<long>(y) * bins.tiles_x;
        for (int x = x0; x < x1; ++x) ++row[x];
        slots += x1 - x0;
      });
      bins.slot_begin[rank + 1] = slots;
    }
    next[r] = std::move(count);
  });

  uint64_t pairs = 0;
  bins.tile_begin.resize(tiles + 1);
  for (long tile = 0; tile < tiles; ++tile) {
    bins.tile_begin[tile] = static_cast<uint32_t>(pairs);
    for (auto& count : next) {
      const uint32_t own = count[tile];
      count[tile] = static_cast<uint32_t>(pairs);
      pairs += own;
    }
  }
  if (pairs >= (1ull << 31))
    throw std::length_error("more than 2^31 tile-Gaussian pairs; render at a lower resolution");
  bins.tile_begin[tiles] = static_cast<uint32_t>(pairs);
  for (long rank = 0; rank < visible; ++rank) bins.slot_begin[rank + 1] += bins.slot_begin[rank];

  // Second pass: scatter. Ranges write to places of their own, in depth order within each tile.
  bins.num_entries = static_cast<long>(pairs);
  bins.entries.reset(new Entry[pairs]);
  parallel_for(ranges, [&](int r) {
    auto& place = next[r];
    uint32_t rank = ~0u, slot = 0;
    for (const Run& run : runs[r]) {
      if (run.rank != rank) rank = run.rank, slot = bins.slot_begin[rank];
      uint32_t* row = place.data() + static_cast<long>(run.y) * bins.tiles_x;
      for (int x = run.x0; x < run.x1; ++x) {
        bins.entries[row[x]++] = {rank, slot++};
      }
    }
  });
}

}  // namespace fieldwright::ISA
