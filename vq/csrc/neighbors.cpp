#include "neighbors.hpp"

#include <algorithm>
#include <vector>

#include "thread_pool.hpp"

namespace fieldwright {
namespace {

constexpr int kLeaf = 8;

struct Box {
  uint32_t low[3], high[3];
};

// Bounding boxes of runs of kLeaf * 2^level points, all levels, finest first.
class RunTree {
 public:
  RunTree(const uint32_t* points, long count) : points_(points), count_(count) {
    std::vector<Box> boxes((count + kLeaf - 1) / kLeaf);
    for (size_t b = 0; b < boxes.size(); ++b) {
      boxes[b] = {{~0u, ~0u, ~0u}, {0, 0, 0}};
      const long end = std::min<long>(count, (b + 1) * kLeaf);
      for (long i = b * kLeaf; i < end; ++i)
        for (int a = 0; a < 3; ++a) {
          boxes[b].low[a] = std::min(boxes[b].low[a], points[3 * i + a]);
          boxes[b].high[a] = std::max(boxes[b].high[a], points[3 * i + a]);
        }
    }
    levels_.push_back(std::move(boxes));
    while (levels_.back().size() > 1) {
      const std::vector<Box>& fine = levels_.back();
      std::vector<Box> coarse((fine.size() + 1) / 2);
      for (size_t b = 0; b < coarse.size(); ++b) {
        coarse[b] = fine[2 * b];
        if (2 * b + 1 == fine.size()) continue;
        for (int a = 0; a < 3; ++a) {
          coarse[b].low[a] = std::min(coarse[b].low[a], fine[2 * b + 1].low[a]);
          coarse[b].high[a] = std::max(coarse[b].high[a], fine[2 * b + 1].high[a]);
        }
      }
      levels_.push_back(std::move(coarse));
    }
  }

  void query(long i, int k, int32_t* found, uint64_t* distances) const {
    std::fill_n(distances, k, ~uint64_t{0});
    std::fill_n(found, k, -1);
    visit(static_cast<int>(levels_.size()) - 1, 0, i, k, found, distances);
  }

 private:
  // Later runs first: they hold the points nearest on the curve, and win ties.
  void visit(int level, long run, long i, int k, int32_t* found, uint64_t* distances) const {
    if (run * (long{kLeaf} << level) >= i) return;
    if (to_box(levels_[level][run], i) >= distances[k - 1]) return;
    if (level > 0) {
      if (2 * run + 1 < static_cast<long>(levels_[level - 1].size()))
        visit(level - 1, 2 * run + 1, i, k, found, distances);
      visit(level - 1, 2 * run, i, k, found, distances);
      return;
    }
    for (long j = std::min(i, (run + 1) * kLeaf) - 1; j >= run * kLeaf; --j) {
      uint64_t distance = 0;
      for (int a = 0; a < 3; ++a) {
        const int64_t d = static_cast<int64_t>(points_[3 * i + a]) - points_[3 * j + a];
        distance += static_cast<uint64_t>(d * d);
      }
      if (distance >= distances[k - 1]) continue;
      int r = k - 1;
      for (; r > 0 && distances[r - 1] > distance; --r) {
        distances[r] = distances[r - 1];
        found[r] = found[r - 1];
      }
      distances[r] = distance;
      found[r] = static_cast<int32_t>(j);
    }
  }

  uint64_t to_box(const Box& box, long i) const {
    uint64_t distance = 0;
    for (int a = 0; a < 3; ++a) {
      const int64_t x = points_[3 * i + a];
      const int64_t d = std::max<int64_t>({box.low[a] - x, x - box.high[a], 0});
      distance += static_cast<uint64_t>(d * d);
    }
    return distance;
  }

  const uint32_t* points_;
  long count_;
  std::vector<std::vector<Box>> levels_;
};

}  // namespace

void earlier_neighbors(const uint32_t* points, long count, int k, int32_t* neighbors) {
  if (count == 0) return;
  const RunTree tree(points, count);
  parallel_ranges(count, 1 << 10, [&](long begin, long end, int) {
    std::vector<uint64_t> distances(k);
    for (long i = begin; i < end; ++i)
      tree.query(i, k, neighbors + i * k, distances.data());
  });
}

}  // namespace fieldwright
