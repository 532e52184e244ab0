// Python names of packed volume rendering. Arrays are addresses of dense memory that
// fields/kernels.py has checked.
#include <nanobind/nanobind.h>

#include "composite.hpp"
#include "dispatch.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

using Address = uintptr_t;
constexpr long kRays = 64;  // fewest per range: some ten thousand cycles

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

PackedSamples packed(Address densities, Address colors, Address starts, Address ends,
                     Address offsets, float early_stop) {
  return {at<const float>(densities), at<const float>(colors),    at<const float>(starts),
          at<const float>(ends),      at<const int64_t>(offsets), early_stop};
}

void composite_forward(Address densities, Address colors, Address starts, Address ends,
                       Address offsets, Address out_colors, Address opacities, Address distances,
                       Address medians, Address distortions, long rays, float early_stop) {
  const auto samples = packed(densities, colors, starts, ends, offsets, early_stop);
  const RayValues out{at<float>(out_colors), at<float>(opacities), at<float>(distances),
                      at<float>(medians), at<float>(distortions)};
  nb::gil_scoped_release release;
  parallel_ranges(rays, kRays, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(composite_rays, samples, out, begin, end);
  });
}

void composite_backward(Address densities, Address colors, Address starts, Address ends,
                        Address offsets, Address for_colors, Address for_opacities,
                        Address for_distances, Address for_distortions, Address out_densities,
                        Address out_colors, long rays, float early_stop) {
  const auto samples = packed(densities, colors, starts, ends, offsets, early_stop);
  const RayGradients given{at<const float>(for_colors), at<const float>(for_opacities),
                           at<const float>(for_distances), at<const float>(for_distortions)};
  nb::gil_scoped_release release;
  parallel_ranges(rays, kRays, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(composite_gradients, samples, given, at<float>(out_densities),
                         at<float>(out_colors), begin, end);
  });
}

}  // namespace

void bind_volume(nb::module_& m) {
  m.def("composite_forward", &composite_forward, "densities"_a, "colors"_a, "starts"_a, "ends"_a,
        "offsets"_a, "out_colors"_a, "opacities"_a, "distances"_a, "medians"_a, "distortions"_a,
        "rays"_a, "early_stop"_a, "Blend packed samples along their rays.");
  m.def("composite_backward", &composite_backward, "densities"_a, "colors"_a, "starts"_a,
        "ends"_a, "offsets"_a, "for_colors"_a, "for_opacities"_a, "for_distances"_a,
        "for_distortions"_a, "out_densities"_a, "out_colors"_a, "rays"_a, "early_stop"_a,
        "Gradients of `composite_forward` towards densities and colors.");
}

}  // namespace fieldwright
