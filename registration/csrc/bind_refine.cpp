// Python names of refinement and scoring: NearestGrid, refine, score_poses.
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <optional>

#include "arrays.hpp"
#include "dispatch.hpp"
#include "refine.hpp"
#include "thread_pool.hpp"

namespace fieldwright {
namespace {

using namespace nb::literals;

Placement placement_of(const double* row) {
  Placement p;
  std::copy(row, row + 9, p.r);
  std::copy(row + 9, row + 12, p.t);
  p.scale = row[12];
  return p;
}

Cloud cloud_of(Points points, Points normals) {
  require(points.shape(0) == normals.shape(0), "points and normals must be [n, 3]");
  return {points.data(), normals.data(), static_cast<long>(points.shape(0))};
}

// (placement [13], Hessian [7, 7], [cost, pairs, weights])
nb::tuple refine_pose(Points points, Points normals, const NearestGrid& target, Doubles start,
                      Floats gates, bool with_scale, double tolerance,
                      std::optional<Points> back_points, std::optional<Points> back_normals,
                      const NearestGrid* source) {
  require(start.size() == 13, "start must be [13]: rotation, translation, scale");
  require(gates.ndim() == 2 && gates.shape(1) == 2, "gates must be [steps, 2]");
  Placement placement = placement_of(start.data());
  const Cloud cloud = cloud_of(points, normals);
  Cloud backward{};
  if (source) backward = cloud_of(back_points.value(), back_normals.value());
  std::vector<Gates> schedule(gates.shape(0));
  for (size_t i = 0; i < schedule.size(); ++i)
    schedule[i] = {gates.data()[2 * i], gates.data()[2 * i + 1]};
  Equations sums;
  {
    nb::gil_scoped_release release;
    sums = refine(cloud, target, source ? &backward : nullptr, source, schedule.data(),
                  static_cast<int>(schedule.size()), with_scale, tolerance, placement);
  }
  std::vector<double> pose(placement.r, placement.r + 9), hessian(49);
  pose.insert(pose.end(), placement.t, placement.t + 3);
  pose.push_back(placement.scale);
  int k = 0;
  for (int a = 0; a < 7; ++a)
    for (int b = a; b < 7; ++b, ++k) hessian[7 * a + b] = hessian[7 * b + a] = sums.h[k];
  return nb::make_tuple(to_numpy(std::move(pose), {13}), to_numpy(std::move(hessian), {7, 7}),
                        to_numpy(std::vector<double>{sums.cost, sums.pairs, sums.weights}, {3}));
}

nb::object score_poses(Points points, Points normals, const NearestGrid& target, Doubles poses,
                       float radius) {
  require(poses.ndim() == 2 && poses.shape(1) == 13, "poses must be [k, 13]");
  const Cloud cloud = cloud_of(points, normals);
  const size_t count = poses.shape(0);
  std::vector<float> scores(count);
  {
    nb::gil_scoped_release release;
    parallel_for(static_cast<int>(count), [&](int i) {
      const Placement placement = placement_of(poses.data() + 13 * i);
      FIELDWRIGHT_DISPATCH(score_pose, cloud, target, placement, radius, &scores[i]);
    });
  }
  return to_numpy(std::move(scores), {count});
}

nb::object find(const NearestGrid& grid, Points queries) {
  const size_t n = queries.shape(0);
  std::vector<int32_t> found(n);
  for (size_t i = 0; i < n; ++i) found[i] = grid.find(queries.data() + 3 * i);
  return to_numpy(std::move(found), {n});
}

}  // namespace

void bind_refine(nb::module_& m) {
  nb::class_<NearestGrid>(m, "NearestGrid", "Nearest points by one look-up.")
      .def(
          "__init__",
          [](NearestGrid* self, Points points, Points normals, float cell, float reach) {
            require(points.shape(0) == normals.shape(0), "points and normals must be [n, 3]");
            require(cell > 0 && reach > 0, "cell and reach must be above 0");
            nb::gil_scoped_release release;
            new (self) NearestGrid(points.data(), normals.data(), points.shape(0), cell, reach);
          },
          "points"_a, "normals"_a, "cell"_a, "reach"_a)
      .def("find", &find, "queries"_a, "Index of a near point for each query, -1 where none.");
  m.def("refine", &refine_pose, "points"_a, "normals"_a, "target"_a, "start"_a, "gates"_a,
        "with_scale"_a, "tolerance"_a, "back_points"_a.none(), "back_normals"_a.none(),
        "source"_a.none(), "(pose [13], Hessian [7, 7], [cost, pairs, weights]).");
  m.def("score_poses", &score_poses, "points"_a, "normals"_a, "target"_a, "poses"_a, "radius"_a,
        "How much of the cloud lies on the target under each pose [k, 13].");
}

}  // namespace fieldwright
