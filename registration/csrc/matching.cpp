#include "matching.hpp"

#include "simd.hpp"

namespace fieldwright::ISA {
namespace {

constexpr int kTile = 16, kParts = kTile / kLanes, kQueries = 4;

// Per lane, the smallest value of |t|^2 / 2 - q.t, the one before it, and where.
struct Best {
  vf first[kParts], second[kParts], tile[kParts];
};

}  // namespace

// scores [end - begin, 2]: |t|^2 / 2 - q.t of the nearest row and of the second.
void match_rows(const Table& table, const float* queries, long begin, long end, int32_t* best,
                float* scores) {
  const long tiles = (table.rows + kTile - 1) / kTile;
  const int dims = table.dims;
  for (long q0 = begin; q0 < end; q0 += kQueries) {
    const float* rows[kQueries];
    for (int j = 0; j < kQueries; ++j)
      rows[j] = queries + (q0 + j < end ? q0 + j : end - 1) * dims;
    Best found[kQueries];
    for (auto& item : found)
      for (int p = 0; p < kParts; ++p) {
        item.first[p] = item.second[p] = splat(3e38f);
        item.tile[p] = splat(0);
      }
    for (long t = 0; t < tiles; ++t) {
      vf sums[kQueries][kParts];
      for (int p = 0; p < kParts; ++p) {
        const vf norm = load(table.half_norms + t * kTile + p * kLanes);
        for (int j = 0; j < kQueries; ++j) sums[j][p] = norm;
      }
      const float* tile = table.tiles + t * dims * kTile;
      for (int d = 0; d < dims; ++d)
        for (int p = 0; p < kParts; ++p) {
          const vf values = load(tile + d * kTile + p * kLanes);
          for (int j = 0; j < kQueries; ++j)
            sums[j][p] = fma(splat(-rows[j][d]), values, sums[j][p]);
        }
      const vf number = splat(static_cast<float>(t));
      for (int j = 0; j < kQueries; ++j)
        for (int p = 0; p < kParts; ++p) {
          Best& item = found[j];
          const mask better = gt(item.first[p], sums[j][p]);
          item.second[p] = min(item.second[p], max(item.first[p], sums[j][p]));
          item.first[p] = min(item.first[p], sums[j][p]);
          item.tile[p] = select(better, number, item.tile[p]);
        }
    }
    for (int j = 0; j < kQueries && q0 + j < end; ++j) {
      float first = 3e38f, second = 3e38f;
      int32_t index = -1;
      for (int p = 0; p < kParts; ++p) {
        float values[kLanes], seconds[kLanes], numbers[kLanes];
        store(values, found[j].first[p]);
        store(seconds, found[j].second[p]);
        store(numbers, found[j].tile[p]);
        for (int lane = 0; lane < kLanes; ++lane) {
          const int32_t place = static_cast<int32_t>(numbers[lane]) * kTile + p * kLanes + lane;
          if (values[lane] < first || (values[lane] == first && place < index)) {
            second = first < seconds[lane] ? first : seconds[lane];
            first = values[lane];
            index = place;
          } else if (values[lane] < second) {
            second = values[lane];
          }
        }
      }
      best[q0 + j] = index;
      scores[2 * (q0 + j)] = first;
      scores[2 * (q0 + j) + 1] = second;
    }
  }
}

}  // namespace fieldwright::ISA
