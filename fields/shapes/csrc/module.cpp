// The Python module fields.shapes._native: a hierarchy over triangles, plain arrays in and out.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cmath>
#include <stdexcept>

#include "bind_machine.hpp"
#include "triangle_bvh.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

template <typename T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Rows = nb::ndarray<T, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

void construct(TriangleBvh* self, Rows<const float> vertices, Rows<const int32_t> faces) {
  const long count = static_cast<long>(vertices.shape(0));
  require(faces.shape(0) > 0, "a hierarchy needs at least one face");
  for (size_t i = 0; i < 3 * faces.shape(0); ++i)
    require(faces.data()[i] >= 0 && faces.data()[i] < count, "a face names no vertex");
  for (long i = 0; i < 3 * count; ++i)
    require(std::isfinite(vertices.data()[i]), "vertices must be finite");
  new (self) TriangleBvh(vertices.data(), count, faces.data(), static_cast<long>(faces.shape(0)));
}

}  // namespace
}  // namespace fieldwright

NB_MODULE(_native, m) {
  using namespace fieldwright;
  m.doc() = "CPU kernels of Fieldwright's shapes.";
  bind_machine(m);
  nb::class_<TriangleBvh>(m, "TriangleBvh", "A hierarchy over triangles.")
      .def("__init__", &construct, "vertices"_a, "faces"_a)
      .def(
          "closest",
          [](const TriangleBvh& self, Rows<const float> points, Array<float> distances,
             Array<int32_t> faces) {
            require(distances.shape(0) == points.shape(0) && faces.shape(0) == points.shape(0),
                    "distances and faces must have one entry per point");
            nb::gil_scoped_release release;
            self.closest(points.data(), static_cast<long>(points.shape(0)), distances.data(),
                         faces.data());
          },
          "points"_a, "distances"_a, "faces"_a,
          "Fill the distance to the surface and the nearest face of each point.")
      .def(
          "crossings",
          [](const TriangleBvh& self, Rows<const float> points, Array<const double> direction,
             Array<int32_t> counts) {
            require(direction.shape(0) == 3, "direction must have 3 entries");
            for (int i = 0; i < 3; ++i)
              require(direction.data()[i] != 0, "direction must not lie in a coordinate plane");
            require(counts.shape(0) == points.shape(0), "counts must have one entry per point");
            nb::gil_scoped_release release;
            self.crossings(points.data(), static_cast<long>(points.shape(0)), direction.data(),
                           counts.data());
          },
          "points"_a, "direction"_a, "counts"_a,
          "Fill the number of faces that the ray from each point crosses.")
      .def(
          "winding",
          [](const TriangleBvh& self, Rows<const float> points, double beta,
             Array<float> numbers) {
            require(numbers.shape(0) == points.shape(0), "numbers must have one entry per point");
            nb::gil_scoped_release release;
            self.winding(points.data(), static_cast<long>(points.shape(0)), beta, numbers.data());
          },
          "points"_a, "beta"_a, "numbers"_a,
          "Fill the generalised winding number of each point.");
}
