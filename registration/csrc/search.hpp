// Descent of a k-d tree, for kernels that search.
#pragma once
#include "kdtree.hpp"
#include "simd.hpp"

namespace fieldwright::ISA {

// Calls visit(begin, end) for every leaf that may hold a point nearer to `query` than `bound()`,
// nearest side first; bound may shrink meanwhile.
template <typename Bound, typename Visit>
inline void visit_leaves(const KdTree& tree, const float* query, Bound bound, Visit visit) {
  struct Entry {
    int node;
    float squared, offset[3];
  };
  Entry stack[KdTree::kMaxDepth];
  int size = 0;
  Entry entry{0, 0, {0, 0, 0}};
  for (int a = 0; a < 3; ++a) {
    const float low = tree.low()[a] - query[a], high = query[a] - tree.high()[a];
    entry.offset[a] = low > 0 ? low : high > 0 ? high : 0;
    entry.squared += entry.offset[a] * entry.offset[a];
  }
  const KdNode* nodes = tree.nodes();
  while (true) {
    if (entry.squared < bound()) {
      while (nodes[entry.node].axis >= 0) {
        const KdNode& node = nodes[entry.node];
        const float away = query[node.axis] - node.split;
        const int near = 2 * entry.node + (away < 0 ? 1 : 2);
        Entry far = entry;
        far.node = 4 * entry.node + 3 - near;
        const float old = entry.offset[node.axis];
        far.squared += away * away - old * old;
        far.offset[node.axis] = away;
        entry.node = near;
        if (far.squared < bound()) stack[size++] = far;
      }
      visit(nodes[entry.node].begin, nodes[entry.node].end);
    }
    if (size == 0) return;
    entry = stack[--size];
  }
}

// Squared distances of the reordered points [i, i + kLanes) to the query.
inline vf squared_distances(const KdTree& tree, vf x, vf y, vf z, long i) {
  const vf dx = load(tree.x() + i) - x, dy = load(tree.y() + i) - y, dz = load(tree.z() + i) - z;
  return dx * dx + dy * dy + dz * dz;
}

// The nearest point closer than the square root of `max_squared`.
inline Found nearest(const KdTree& tree, const float* query, float max_squared) {
  Found best{max_squared, -1};
  const vf x = splat(query[0]), y = splat(query[1]), z = splat(query[2]);
  visit_leaves(
      tree, query, [&] { return best.squared; },
      [&](int begin, int end) {
        for (int i = begin; i < end; i += kLanes) {
          const vf squared = squared_distances(tree, x, y, z, i);
          if (!any(gt(splat(best.squared), squared))) continue;
          float values[kLanes];
          store(values, squared);
          const int lanes = end - i < kLanes ? end - i : kLanes;
          for (int lane = 0; lane < lanes; ++lane)
            if (values[lane] < best.squared) best = {values[lane], i + lane};
        }
      });
  return best;  // index in the tree's order
}

}  // namespace fieldwright::ISA
