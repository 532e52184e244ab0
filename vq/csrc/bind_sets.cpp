// Python names of the kernels for sets of points: morton_codes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

#include "morton.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

using Points = nb::ndarray<const uint32_t, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;
using Codes = nb::ndarray<uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void fill_morton_codes(Points points, Codes codes) {
  if (points.shape(0) != codes.shape(0))
    throw std::invalid_argument("points and codes must have the same length");
  nb::gil_scoped_release release;
  morton_codes(points.data(), static_cast<long>(points.shape(0)), codes.data());
}

}  // namespace

void bind_sets(nb::module_& m) {
  m.def("morton_codes", &fill_morton_codes, "points"_a, "codes"_a,
        "Fill codes [N] with the interleaved bits of points [N, 3]; x takes the lowest bit.");
}

}  // namespace fieldwright
