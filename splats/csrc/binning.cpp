// Which Gaussians touch which tile, front to back.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "rasterizer.hpp"
#include "rows.hpp"
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

// Tiles [x0, x1) of tile row y that one Gaussian touches; the first of them gets gradient slot
// `slot` of that Gaussian's own.
struct Run {
  uint32_t rank, slot;
  uint16_t y, x0, x1;
};

// The tiles of kLanes Gaussians: for lane i the rows [first[i], last[i]), and for row first[i] + r
// the columns [x0[r][i], x1[r][i]).
struct Spans {
  alignas(64) int32_t first[kLanes], last[kLanes];
  std::vector<vi> x0, x1;
};

// One block of Gaussians as vectors; lanes past the end have opacity 0.
struct Block {
  alignas(64) float x[kLanes], y[kLanes], A[kLanes], B[kLanes], C[kLanes], opacity[kLanes],
      log2_opacity[kLanes];
};

inline vf clamp(vf v, vf low, vf high) { return min(max(v, low), high); }
inline vi truncated(vf v) { return __builtin_convertvector(v, vi); }

// Rows of tiles that hold a pixel centre inside the ellipse q(d) = A dx^2 + 2 B dx dy + C dy^2 <= t,
// tested on each tile's hull of pixel centres. In a row the touched tiles are those that meet the
// ellipse's horizontal extent within the row's slab, because the slice of a convex set is an
// interval; the extent is at the ellipse's rightmost point if that lies in the slab, else at the
// slab's edge next to it.
void find_spans(const Block& block, int tiles_x, int tiles_y, Spans& spans) {
  const vf A = load(block.A), B = load(block.B), C = load(block.C);
  const vf mx = load(block.x), my = load(block.y);
  const vf zero = splat(0.0f), per_tile = splat(1.0f / kTile);
  const vf columns = splat(static_cast<float>(tiles_x)), rows = splat(static_cast<float>(tiles_y));
  const vf det = A * C - B * B;
  // A rounding error in t must never lose a pixel that blending would draw.
  const vf t = (load(block.log2_opacity) - kMinLog2Alpha) * (1.00001f / kHalfLog2e) + 1e-5f;
  const mask drawn =
      both(both(ge(load(block.opacity), splat(kMinAlpha)), gt(t, zero)), gt(det, zero));
  const vf t_det = t / select(drawn, det, splat(1.0f));
  const vf x_reach = sqrt(max(t_det * C, zero)), y_reach = sqrt(max(t_det * A, zero));
  // The first tile whose last pixel centre is past v is (v + 1/2) / 8 rounded down; one past the
  // tile that holds v is (v - 1/2) / 8 + 1 rounded down.
  const vf first = clamp((my - y_reach + 0.5f) * per_tile, zero, rows);
  const vf last = clamp((my + y_reach - 0.5f) * per_tile + 1.0f, zero, rows);
  const vi first_row = truncated(zero_unless(drawn, first));
  const vi last_row = truncated(zero_unless(drawn, last));
  std::memcpy(spans.first, &first_row, sizeof(vi));
  std::memcpy(spans.last, &last_row, sizeof(vi));
  int count = 0;
  for (int i = 0; i < kLanes; ++i) count = std::max(count, spans.last[i] - spans.first[i]);
  const vf right_y = -B / C * x_reach;  // height of the rightmost point; the leftmost mirrors it
  const vf inv_A = 1.0f / A, At = A * t;
  vf slab = __builtin_convertvector(first_row, vf) * static_cast<float>(kTile) + 0.5f - my;
  for (int r = 0; r < count; ++r, slab += static_cast<float>(kTile)) {
    const vf low = max(slab, -y_reach), high = min(slab + (kTile - 1.0f), y_reach);
    const vf at_right = clamp(right_y, low, high), at_left = clamp(-right_y, low, high);
    const vf right = (sqrt(max(At - det * at_right * at_right, zero)) - B * at_right) * inv_A;
    const vf left = (-sqrt(max(At - det * at_left * at_left, zero)) - B * at_left) * inv_A;
    spans.x0[r] = truncated(clamp((mx + left + 0.5f) * per_tile, zero, columns));
    spans.x1[r] = truncated(clamp((mx + right - 0.5f) * per_tile + 1.0f, zero, columns));
  }
}

// Reads the Gaussians at ranks [rank, rank + count) in depth order and writes their splats.
void load_block(const BinArgs& a, const std::vector<Keyed>& order, long rank, int count,
                Block& block, Splat* splats) {
  const long last = static_cast<long>(order.size()) - 1;
  for (int lane = 0; lane < kLanes; ++lane) {
    const long ahead = order[std::min(rank + lane + 2 * kLanes, last)].index;
    __builtin_prefetch(a.means2d + 2 * ahead);  // depth order is no order in memory
    __builtin_prefetch(a.conics + 3 * ahead);
    __builtin_prefetch(a.opacities + ahead);
    const long i = order[std::min(rank + lane, last)].index;
    block.x[lane] = a.means2d[2 * i], block.y[lane] = a.means2d[2 * i + 1];
    block.A[lane] = a.conics[3 * i], block.B[lane] = a.conics[3 * i + 1];
    block.C[lane] = a.conics[3 * i + 2];
    block.opacity[lane] = lane < count ? a.opacities[i] : 0.0f;
  }
  store(block.log2_opacity, log2(max(load(block.opacity), splat(1e-30f))));
  for (int lane = 0; lane < count; ++lane)
    splats[lane] = {block.x[lane],
                    block.y[lane],
                    -kHalfLog2e * block.A[lane],
                    -2 * kHalfLog2e * block.B[lane],
                    -kHalfLog2e * block.C[lane],
                    block.log2_opacity[lane],
                    block.opacity[lane],
                    static_cast<int32_t>(order[rank + lane].index)};
}

// The runs of the ranks [begin, end), in order; counts each tile's entries and each rank's slots.
std::vector<Run> find_runs(const BinArgs& a, const std::vector<Keyed>& order, long begin, long end,
                           Bins& bins, std::vector<uint32_t>& count) {
  std::vector<Run> runs;
  runs.reserve(4 * (end - begin));
  Block block;
  Spans spans;
  spans.x0.resize(bins.tiles_y), spans.x1.resize(bins.tiles_y);
  for (long rank = begin; rank < end; rank += kLanes) {
    const int lanes = static_cast<int>(std::min<long>(kLanes, end - rank));
    load_block(a, order, rank, lanes, block, bins.splats.get() + rank);
    find_spans(block, bins.tiles_x, bins.tiles_y, spans);
    for (int lane = 0; lane < lanes; ++lane) {
      uint32_t slot = 0;
      for (int y = spans.first[lane]; y < spans.last[lane]; ++y) {
        const int r = y - spans.first[lane];
        const int x0 = spans.x0[r][lane], x1 = spans.x1[r][lane];
        if (x0 >= x1) continue;
        runs.push_back({static_cast<uint32_t>(rank + lane), slot, static_cast<uint16_t>(y),
                        static_cast<uint16_t>(x0), static_cast<uint16_t>(x1)});
        uint32_t* row = count.data() + static_cast<long>(y) * bins.tiles_x;
        for (int x = x0; x < x1; ++x) ++row[x];
        slot += x1 - x0;
      }
      bins.slot_begin[rank + lane + 1] = slot;
    }
  }
  return runs;
}

}  // namespace

void build_bins(const BinArgs& a, Bins& bins) {
  bins.width = a.width, bins.height = a.height;
  bins.tiles_x = (a.width + kTile - 1) / kTile, bins.tiles_y = (a.height + kTile - 1) / kTile;
  const long tiles = static_cast<long>(bins.tiles_x) * bins.tiles_y;
  const std::vector<Keyed> order = visible_by_depth(a);
  const long visible = static_cast<long>(order.size());
  bins.num_visible = visible;
  bins.splats.reset(new Splat[visible]);
  bins.slot_begin.assign(visible + 1, 0);

  // First pass: runs of tiles per range of ranks, and how many entries each tile gets from it.
  const int ranges = static_cast<int>(std::clamp<long>(visible / 2048, 1, num_threads()));
  std::vector<std::vector<Run>> runs(ranges);
  std::vector<std::vector<uint32_t>> next(ranges);
  parallel_for(ranges, [&](int r) {
    next[r].assign(tiles, 0);
    runs[r] = find_runs(a, order, visible * r / ranges, visible * (r + 1) / ranges, bins, next[r]);
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
    for (const Run& run : runs[r]) {
      uint32_t slot = bins.slot_begin[run.rank] + run.slot;
      uint32_t* row = place.data() + static_cast<long>(run.y) * bins.tiles_x;
      for (int x = run.x0; x < run.x1; ++x) {
        bins.entries[row[x]++] = {run.rank, slot++};
      }
    }
  });
}

}  // namespace fieldwright::ISA
