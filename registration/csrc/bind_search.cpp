// Python names of searching and grouping points: KdTree, voxel_groups.
#include "arrays.hpp"
#include "dispatch.hpp"
#include "kdtree.hpp"
#include "thread_pool.hpp"
#include "voxels.hpp"

namespace fieldwright {
namespace {

using namespace nb::literals;

constexpr long kGrain = 256;

nb::tuple nearest(const KdTree& tree, Points queries, float reach) {
  const long n = queries.shape(0);
  std::vector<int32_t> indices(n);
  std::vector<float> squared(n);
  {
    nb::gil_scoped_release release;
    parallel_ranges(n, kGrain, [&](long begin, long end, int) {
      FIELDWRIGHT_DISPATCH(nearest_points, tree, queries.data(), begin, end, reach * reach,
                           indices.data(), squared.data());
    });
  }
  const size_t size = n;
  return nb::make_tuple(to_numpy(std::move(indices), {size}), to_numpy(std::move(squared), {size}));
}

nb::tuple nearest_few(const KdTree& tree, Points queries, int k, float reach) {
  require(k > 0, "k must be at least 1");
  const long n = queries.shape(0);
  std::vector<int32_t> indices(n * k);
  std::vector<float> squared(n * k);
  {
    nb::gil_scoped_release release;
    parallel_ranges(n, kGrain, [&](long begin, long end, int) {
      FIELDWRIGHT_DISPATCH(nearest_lists, tree, queries.data(), begin, end, k, reach * reach,
                           indices.data(), squared.data());
    });
  }
  const size_t size = n, lists = k;
  return nb::make_tuple(to_numpy(std::move(indices), {size, lists}),
                        to_numpy(std::move(squared), {size, lists}));
}

nb::tuple within(const KdTree& tree, Points queries, float radius, int limit) {
  const long n = queries.shape(0);
  std::vector<int32_t> counts(n), indices;
  std::vector<float> squared;
  std::vector<int64_t> offsets(n + 1, 0);
  {
    nb::gil_scoped_release release;
    std::vector<std::vector<Found>> parts(kMaxRanges);
    std::vector<long> begins(kMaxRanges, n);
    parallel_ranges(n, kGrain, [&](long begin, long end, int range) {
      begins[range] = begin;
      FIELDWRIGHT_DISPATCH(within_radius, tree, queries.data(), begin, end, limit, radius * radius,
                           counts.data(), parts[range]);
    });
    for (long i = 0; i < n; ++i) offsets[i + 1] = offsets[i] + counts[i];
    indices.resize(offsets[n]);
    squared.resize(offsets[n]);
    parallel_for(kMaxRanges, [&](int range) {
      long place = offsets[begins[range]];
      for (const Found& item : parts[range]) {
        indices[place] = item.index;
        squared[place++] = item.squared;
      }
    });
  }
  const size_t total = indices.size();
  return nb::make_tuple(to_numpy(std::move(offsets), {static_cast<size_t>(n + 1)}),
                        to_numpy(std::move(indices), {total}),
                        to_numpy(std::move(squared), {total}));
}

nb::tuple voxel_groups(Points points, Floats origin, float size) {
  require(origin.size() == 3 && size > 0, "origin must be [3] and size above 0");
  VoxelGroups groups;
  {
    nb::gil_scoped_release release;
    groups = group_by_voxel(points.data(), points.shape(0), origin.data(), size);
  }
  const size_t n = groups.order.size(), m = groups.around.size();
  return nb::make_tuple(to_numpy(std::move(groups.order), {n}),
                        to_numpy(std::move(groups.starts), {m + 1}),
                        to_numpy(std::move(groups.around), {m}));
}

nb::object voxel_counts(Points points, Floats origin, float finest, Ints needed) {
  require(origin.size() == 3 && finest > 0, "origin must be [3] and finest above 0");
  require(needed.size() <= 21, "needed must hold at most 21 levels");
  const size_t levels = needed.size();
  std::vector<int32_t> counts(levels);
  {
    nb::gil_scoped_release release;
    count_voxels(points.data(), points.shape(0), origin.data(), finest, static_cast<int>(levels),
                 needed.data(), counts.data());
  }
  return to_numpy(std::move(counts), {levels});
}

}  // namespace

void bind_search(nb::module_& m) {
  nb::class_<KdTree>(m, "KdTree", "A k-d tree over points [n, 3].")
      .def(
          "__init__",
          [](KdTree* self, Points points) {
            require(points.shape(0) > 0, "points must not be empty");
            nb::gil_scoped_release release;
            new (self) KdTree(points.data(), points.shape(0));
          },
          "points"_a)
      .def("nearest", &nearest, "queries"_a, "reach"_a,
           "(indices, squared distances) of the nearest point closer than `reach`, else -1.")
      .def("nearest_few", &nearest_few, "queries"_a, "k"_a, "reach"_a,
           "(indices, squared distances) [n, k] of the nearest, nearest first, then -1.")
      .def("within", &within, "queries"_a, "radius"_a, "limit"_a,
           "(offsets, indices, squared distances) of all points closer than `radius`.");
  m.def("voxel_groups", &voxel_groups, "points"_a, "origin"_a, "size"_a,
        "(order, starts, around): points by voxel, and how many lie in the 27 around each.");
  m.def("voxel_counts", &voxel_counts, "points"_a, "origin"_a, "finest"_a, "needed"_a,
        "Voxels of 2^k times the finest size that hold at least needed[k] points.");
}

}  // namespace fieldwright
