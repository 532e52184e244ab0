#include "kdtree.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "thread_pool.hpp"

namespace fieldwright {
namespace {

constexpr int kParallelDepth = 3;  // 8 subtrees are built at once

}  // namespace

KdTree::KdTree(const float* points, long count) : count_(count), stride_(count + kLeaf) {
  order_.resize(count);
  std::iota(order_.begin(), order_.end(), 0);
  coordinates_.assign(3 * stride_, std::numeric_limits<float>::infinity());
  int depth = 0;
  for (long size = count; size > kLeaf; size = (size + 1) / 2) ++depth;
  nodes_.assign((2l << depth) - 1, KdNode{0, -1, 0, 0});
  for (int a = 0; a < 3; ++a) {
    low_[a] = std::numeric_limits<float>::infinity();
    high_[a] = -low_[a];
    for (long i = 0; i < count; ++i) {
      low_[a] = std::min(low_[a], points[3 * i + a]);
      high_[a] = std::max(high_[a], points[3 * i + a]);
    }
  }
  parallel_depth_ = depth > kParallelDepth + 2 ? kParallelDepth : -1;
  build(points, 0, 0, count, 0);
  if (parallel_depth_ > 0) {
    const int width = 1 << parallel_depth_, first = width - 1;
    const int top = parallel_depth_;
    parallel_depth_ = -1;
    parallel_for(width, [&](int i) {
      const KdNode node = nodes_[first + i];
      build(points, first + i, node.begin, node.end, top);
    });
  }
  for (long i = 0; i < count; ++i)
    for (int a = 0; a < 3; ++a) coordinates_[a * stride_ + i] = points[3l * order_[i] + a];
}

void KdTree::build(const float* points, int node, long begin, long end, int depth) {
  nodes_[node] = {0, -1, static_cast<int32_t>(begin), static_cast<int32_t>(end)};
  if (end - begin <= kLeaf || depth == parallel_depth_) return;
  float low[3], high[3];
  for (int a = 0; a < 3; ++a) low[a] = high[a] = points[3l * order_[begin] + a];
  for (long i = begin + 1; i < end; ++i)
    for (int a = 0; a < 3; ++a) {
      low[a] = std::min(low[a], points[3l * order_[i] + a]);
      high[a] = std::max(high[a], points[3l * order_[i] + a]);
    }
  int axis = 0;
  for (int a = 1; a < 3; ++a)
    if (high[a] - low[a] > high[axis] - low[axis]) axis = a;
  const long middle = (begin + end) / 2;
  std::nth_element(order_.begin() + begin, order_.begin() + middle, order_.begin() + end,
                   [&](int32_t i, int32_t j) {
                     const float a = points[3l * i + axis], b = points[3l * j + axis];
                     return a < b || (a == b && i < j);
                   });
  nodes_[node].axis = static_cast<int8_t>(axis);
  nodes_[node].split = points[3l * order_[middle] + axis];
  build(points, 2 * node + 1, begin, middle, depth + 1);
  build(points, 2 * node + 2, middle, end, depth + 1);
}

}  // namespace fieldwright
