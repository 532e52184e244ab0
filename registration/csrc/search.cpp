#include "search.hpp"

namespace fieldwright::ISA {

void nearest_points(const KdTree& tree, const float* queries, long begin, long end,
                    float max_squared, int32_t* indices, float* squared) {
  for (long q = begin; q < end; ++q) {
    const Found found = nearest(tree, queries + 3 * q, max_squared);
    indices[q] = found.index < 0 ? -1 : tree.order()[found.index];
    squared[q] = found.squared;
  }
}

void nearest_lists(const KdTree& tree, const float* queries, long begin, long end, int k,
                   float max_squared, int32_t* indices, float* squared) {
  for (long q = begin; q < end; ++q) {
    const float* query = queries + 3 * q;
    int32_t* list = indices + q * k;
    float* distances = squared + q * k;
    for (int i = 0; i < k; ++i) list[i] = -1, distances[i] = max_squared;
    const vf x = splat(query[0]), y = splat(query[1]), z = splat(query[2]);
    visit_leaves(
        tree, query, [&] { return distances[k - 1]; },
        [&](int first, int last) {
          for (int i = first; i < last; i += kLanes) {
            const vf found = squared_distances(tree, x, y, z, i);
            if (!any(gt(splat(distances[k - 1]), found))) continue;
            float values[kLanes];
            store(values, found);
            const int lanes = last - i < kLanes ? last - i : kLanes;
            for (int lane = 0; lane < lanes; ++lane) {
              if (values[lane] >= distances[k - 1]) continue;
              int place = k - 1;
              for (; place > 0 && distances[place - 1] > values[lane]; --place) {
                distances[place] = distances[place - 1];
                list[place] = list[place - 1];
              }
              distances[place] = values[lane];
              list[place] = tree.order()[i + lane];
            }
          }
        });
  }
}

void within_radius(const KdTree& tree, const float* queries, long begin, long end, int limit,
                   float max_squared, int32_t* counts, std::vector<Found>& found) {
  for (long q = begin; q < end; ++q) {
    const float* query = queries + 3 * q;
    const size_t start = found.size();
    const vf x = splat(query[0]), y = splat(query[1]), z = splat(query[2]);
    visit_leaves(
        tree, query, [&] { return max_squared; },
        [&](int first, int last) {
          for (int i = first; i < last; i += kLanes) {
            const vf squared = squared_distances(tree, x, y, z, i);
            if (!any(gt(splat(max_squared), squared))) continue;
            float values[kLanes];
            store(values, squared);
            const int lanes = last - i < kLanes ? last - i : kLanes;
            for (int lane = 0; lane < lanes; ++lane)
              if (values[lane] < max_squared)
                found.push_back({values[lane], tree.order()[i + lane]});
          }
        });
    const long total = static_cast<long>(found.size() - start);
    if (total > limit) {  // an even sample of them, in the tree's order
      for (long i = 0; i < limit; ++i) found[start + i] = found[start + i * total / limit];
      found.resize(start + limit);
    }
    counts[q] = static_cast<int32_t>(found.size() - start);
  }
}

}  // namespace fieldwright::ISA
