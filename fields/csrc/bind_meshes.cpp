// Python names of the mesh kernels: rasterize_triangles, integrate_depths.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "meshes.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

template <typename T>
using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

constexpr int kBand = 16;  // rows of pixels that one task draws

void rasterize_triangles(Array<const double> corners, Array<const double> inverse_depths,
                         Array<int32_t> faces, Array<float> weights, Array<float> nearness) {
  require(faces.ndim() == 2, "faces must be [H, W]");
  const int height = static_cast<int>(faces.shape(0)), width = static_cast<int>(faces.shape(1));
  const size_t count = inverse_depths.size() / 3;
  require(corners.size() == 6 * count && inverse_depths.size() == 3 * count &&
              weights.size() == 3 * faces.size() && nearness.size() == faces.size(),
          "corners [F, 3, 2], inverse depths [F, 3] and images of one size are needed");
  const TriangleProblem problem{corners.data(), inverse_depths.data(), width,          height,
                                faces.data(),   weights.data(),        nearness.data()};
  nb::gil_scoped_release release;
  const int bands = (height + kBand - 1) / kBand;
  std::vector<std::vector<int32_t>> lists(bands);
  for (size_t face = 0; face < count; ++face) {
    const double* p = problem.corners + 6 * face;
    const double low = std::min({p[1], p[3], p[5]}), high = std::max({p[1], p[3], p[5]});
    if (!(high >= 0 && low <= height)) continue;
    const int first = static_cast<int>(std::max(0.0, low) / kBand);
    const int last = static_cast<int>(std::min(height - 1.0, high) / kBand);
    for (int band = first; band <= std::min(last, bands - 1); ++band)
      lists[band].push_back(static_cast<int32_t>(face));
  }
  parallel_for(bands, [&](int band) {
    draw_triangles(problem, lists[band].data(), static_cast<long>(lists[band].size()),
                   band * kBand, std::min(height, (band + 1) * kBand));
  });
}

void integrate_depths(Array<const double> corners, double spacing, double truncation,
                      Array<const double> pose, Array<const float> depths,
                      Array<const float> weights, Array<const float> colors, Array<float> sums,
                      Array<float> sum_weights) {
  require(depths.ndim() == 2 && weights.size() == depths.size() &&
              colors.size() == 3 * depths.size() && pose.size() == 18,
          "depths and weights [H, W], colors [H, W, 3] and a pose of 18 numbers are needed");
  const long count = static_cast<long>(corners.size()) / 3;
  require(static_cast<long>(sums.size()) == 2560 * count &&
              static_cast<long>(sum_weights.size()) == 512 * count,
          "sums [B, 8, 8, 8, 5] and weights [B, 8, 8, 8] are needed");
  const FusionProblem problem{corners.data(), spacing,
                              truncation,     pose.data(),
                              depths.data(),  weights.data(),
                              colors.data(),  static_cast<int>(depths.shape(1)),
                              static_cast<int>(depths.shape(0)), sums.data(),
                              sum_weights.data()};
  nb::gil_scoped_release release;
  parallel_ranges(count, 16, [&](long begin, long end, int) { fuse_bricks(problem, begin, end); });
}

}  // namespace

void bind_meshes(nb::module_& m) {
  m.def("rasterize_triangles", &rasterize_triangles, "corners"_a, "inverse_depths"_a, "faces"_a,
        "weights"_a, "nearness"_a, "Draws projected triangles into a z-buffer.");
  m.def("integrate_depths", &integrate_depths, "corners"_a, "spacing"_a, "truncation"_a, "pose"_a,
        "depths"_a, "weights"_a, "colors"_a, "sums"_a, "sum_weights"_a,
        "Adds a depth map to the signed distances of bricks.");
}

}  // namespace fieldwright
