// Python names of the rasteriser's kernels. Arrays are passed as addresses of dense float32 (or
// int32) memory that splats/rasterizer/cpu.py has checked: a training step makes a dozen calls,
// and an address costs a tenth of an array handle.
#include <nanobind/nanobind.h>

#include <memory>

#include "dispatch.hpp"
#include "rasterizer.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

using Address = uintptr_t;

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// `view` is a row-major 4 x 4 world-to-camera matrix, `K` a 3 x 3 intrinsic matrix, both float32.
Camera camera(Address view, Address K, int width, int height) {
  const float *v = at<const float>(view), *k = at<const float>(K);
  Camera c{};
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) c.R[3 * row + column] = v[4 * row + column];
    c.t[row] = v[4 * row + 3];
  }
  if (k) c.fx = k[0], c.fy = k[4], c.cx = k[2], c.cy = k[5];
  c.width = width, c.height = height;
  return c;
}

ShArgs sh_args(long N, int degree, Address view, Address means, Address sh0, long stride0,
               Address shN, long strideN, int rest, Address radii, Address colors) {
  return {N,       degree,  camera(view, 0, 0, 0),   at<const float>(means),
          at<const float>(sh0), at<const float>(shN), stride0, strideN, rest,
          at<const int32_t>(radii), at<float>(colors)};
}

BlendArgs blend_args(const Bins& bins, int D, Address colors, Address background, Address image,
                     Address alpha, Address transmittance, Address used) {
  return {&bins,         D,
          at<const float>(colors), at<const float>(background),
          at<float>(image),        at<float>(alpha),
          at<float>(transmittance), at<uint32_t>(used)};
}

}  // namespace

void bind_rasterizer(nb::module_& m) {
  nb::class_<Bins>(m, "Bins", "Depth order and tile lists of one camera.")
      .def_ro("width", &Bins::width, "Image width, pixels.")
      .def_ro("height", &Bins::height, "Image height, pixels.")
      .def_prop_ro("num_visible", [](const Bins& b) { return b.num_visible; },
                   "Gaussians that touch the image.")
      .def_prop_ro("num_pairs", [](const Bins& b) { return b.num_entries; },
                   "(tile, Gaussian) pairs.")
      .def_prop_ro("num_tiles", [](const Bins& b) { return b.tiles_x * b.tiles_y; },
                   "Tiles of 8 x 8 pixels.")
      .def_prop_ro("num_bytes", [](const Bins& b) {
        return b.num_visible * sizeof(Splat) + 4 * (b.slot_begin.size() + b.tile_begin.size()) +
               b.num_entries * sizeof(Entry) + b.pixel_mask.size();
      }, "Memory held, bytes.");

  m.def("project",
        [](long N, Address view, Address K, int width, int height, float eps2d, float near_plane,
           float far_plane, float radius_clip, Address means, Address quats, Address scales,
           Address opacities, Address radii, Address means2d, Address depths, Address conics,
           Address compensations) {
          nb::gil_scoped_release release;
          const ProjectArgs args{N, camera(view, K, width, height), eps2d, near_plane, far_plane,
                                 radius_clip, at<const float>(means), at<const float>(quats),
                                 at<const float>(scales), at<const float>(opacities),
                                 at<int32_t>(radii), at<float>(means2d), at<float>(depths),
                                 at<float>(conics), at<float>(compensations)};
          FIELDWRIGHT_DISPATCH(project, args);
        });
  m.def("project_backward",
        [](long N, Address view, Address K, int width, int height, float eps2d, Address means,
           Address quats, Address scales, Address radii, Address v_means2d, Address v_depths,
           Address v_conics, Address v_compensations, Address v_means, Address v_quats,
           Address v_scales, Address v_view) {
          nb::gil_scoped_release release;
          const ProjectBackwardArgs args{
              N, camera(view, K, width, height), eps2d, at<const float>(means),
              at<const float>(quats), at<const float>(scales), at<const int32_t>(radii),
              at<const float>(v_means2d), at<const float>(v_depths), at<const float>(v_conics),
              at<const float>(v_compensations), at<float>(v_means), at<float>(v_quats),
              at<float>(v_scales), at<double>(v_view)};
          FIELDWRIGHT_DISPATCH(project_backward, args);
        });
  m.def("sh_colors",
        [](long N, int degree, Address view, Address means, Address sh0, long stride0, Address shN,
           long strideN, int rest, Address radii, Address colors) {
          nb::gil_scoped_release release;
          const ShArgs args =
              sh_args(N, degree, view, means, sh0, stride0, shN, strideN, rest, radii, colors);
          FIELDWRIGHT_DISPATCH(sh_colors, args);
        });
  m.def("sh_colors_backward",
        [](long N, int degree, Address view, Address means, Address sh0, long stride0, Address shN,
           long strideN, int rest, Address radii, Address colors, Address v_colors,
           bool accumulate, Address v_means,
           Address v_sh0, Address v_shN, Address v_view) {
          nb::gil_scoped_release release;
          const ShBackwardArgs args{
              sh_args(N, degree, view, means, sh0, stride0, shN, strideN, rest, radii, colors),
              at<const float>(v_colors), at<float>(v_means), accumulate, at<float>(v_sh0),
              at<float>(v_shN), at<double>(v_view)};
          FIELDWRIGHT_DISPATCH(sh_colors_backward, args);
        });
  m.def("bin",
        [](long N, int width, int height, Address means2d, Address conics, Address opacities,
           Address depths, Address radii, Address pixel_mask) {
          nb::gil_scoped_release release;
          auto bins = std::make_unique<Bins>();
          const BinArgs args{N, width, height, at<const float>(means2d), at<const float>(conics),
                             at<const float>(opacities), at<const float>(depths),
                             at<const int32_t>(radii)};
          FIELDWRIGHT_DISPATCH(build_bins, args, *bins);
          if (pixel_mask) {
            const uint8_t* mask = at<const uint8_t>(pixel_mask);
            bins->pixel_mask.assign(mask, mask + static_cast<long>(width) * height);
          }
          return bins.release();
        },
        nb::rv_policy::take_ownership);
  m.def("blend", [](const Bins& bins, int D, Address colors, Address background, Address image,
                    Address alpha, Address transmittance, Address used) {
    nb::gil_scoped_release release;
    const BlendArgs args =
        blend_args(bins, D, colors, background, image, alpha, transmittance, used);
    FIELDWRIGHT_DISPATCH(blend, args);
  });
  m.def("blend_backward",
        [](const Bins& bins, int D, Address colors, Address background, Address image,
           Address alpha, Address transmittance, Address used, Address v_image, Address v_alpha,
           long N, Address v_means2d, Address v_conics, Address v_colors, Address v_opacities,
           Address v_abs_means2d, Address v_background) {
          nb::gil_scoped_release release;
          const BlendBackwardArgs args{
              blend_args(bins, D, colors, background, image, alpha, transmittance, used),
              at<const float>(v_image), at<const float>(v_alpha), N, at<float>(v_means2d),
              at<float>(v_conics), at<float>(v_colors), at<float>(v_opacities),
              at<float>(v_abs_means2d), at<double>(v_background)};
          FIELDWRIGHT_DISPATCH(blend_backward, args);
        });
}

}  // namespace fieldwright
