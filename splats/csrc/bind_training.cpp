// Python names of the training kernels: photometric_loss, adam, position_noise.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "adam.hpp"
#include "dispatch.hpp"
#include "ssim.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

using Image = nb::ndarray<float, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using ConstImage = nb::ndarray<const float, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using Mask = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Flags = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Array = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using ConstArray = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

std::tuple<double, double, double> photometric_loss(ConstImage image, ConstImage target,
                                                    std::optional<Mask> mask, Image gradient,
                                                    double ssim_weight) {
  const long height = image.shape(0), width = image.shape(1);
  require(target.shape(0) == image.shape(0) && target.shape(1) == image.shape(1) &&
              gradient.shape(0) == image.shape(0) && gradient.shape(1) == image.shape(1),
          "image, target and gradient must have the same shape");
  const uint8_t* valid = nullptr;
  long pixels = height * width;
  if (mask) {
    require(mask->shape(0) == image.shape(0) && mask->shape(1) == image.shape(1),
            "mask must have the image's height and width");
    valid = mask->data();
    pixels = 0;
    for (long i = 0; i < height * width; ++i) pixels += valid[i] != 0;
  }
  const double values = 3.0 * static_cast<double>(pixels > 0 ? pixels : 1);
  const LossProblem problem{image.data(),
                            target.data(),
                            valid,
                            gradient.data(),
                            static_cast<int>(height),
                            static_cast<int>(width),
                            static_cast<float>((1 - ssim_weight) / values),
                            static_cast<float>(ssim_weight / values)};
  nb::gil_scoped_release release;
  std::vector<LossSums> sums(TileGrid(problem.height, problem.width).count());
  parallel_for(static_cast<int>(sums.size()),
               [&](int tile) { FIELDWRIGHT_DISPATCH(ssim_tile, problem, tile, sums[tile]); });
  LossSums total;
  for (const LossSums& part : sums) {
    total.absolute += part.absolute;
    total.ssim += part.ssim;
  }
  const double l1 = total.absolute / values;
  const double ssim = pixels > 0 ? total.ssim / values : 1.0;
  return {(1 - ssim_weight) * l1 + ssim_weight * (1 - ssim), l1, ssim};
}

void adam(std::vector<Array> parameters, std::vector<ConstArray> gradients,
          std::vector<Array> first_moments, std::vector<Array> second_moments,
          std::vector<double> learning_rates, std::vector<long> steps, std::optional<Flags> visible,
          double beta1, double beta2, double epsilon) {
  const size_t count = parameters.size();
  require(gradients.size() == count && first_moments.size() == count &&
              second_moments.size() == count && learning_rates.size() == count &&
              steps.size() == count,
          "adam needs one gradient, two moments, a learning rate and a step per parameter");
  if (count == 0) return;
  const long rows = static_cast<long>(parameters[0].shape(0));
  require(!visible || static_cast<long>(visible->shape(0)) == rows,
          "visible must have one entry per row");
  std::vector<AdamGroup> groups;
  for (size_t i = 0; i < count; ++i) {
    const size_t size = parameters[i].size();
    require(static_cast<long>(parameters[i].shape(0)) == rows && gradients[i].size() == size &&
                first_moments[i].size() == size && second_moments[i].size() == size,
            "parameters, gradients and moments must have the same rows and sizes");
    if (size == 0) continue;
    groups.push_back({parameters[i].data(), gradients[i].data(), first_moments[i].data(),
                      second_moments[i].data(), static_cast<long>(size) / rows,
                      static_cast<float>(learning_rates[i] / (1 - std::pow(beta1, steps[i]))),
                      static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, steps[i])))});
  }
  const AdamSettings settings{static_cast<float>(1 - beta1), static_cast<float>(beta2),
                              static_cast<float>(1 - beta2), static_cast<float>(epsilon)};
  const uint8_t* flags = visible ? visible->data() : nullptr;
  nb::gil_scoped_release release;
  parallel_ranges(rows, 512, [&](long begin, long end, int) {
    for (const AdamGroup& group : groups)
      FIELDWRIGHT_DISPATCH(adam_rows, group, settings, flags, begin, end);
  });
}

void position_noise(Array means, ConstArray quats, ConstArray log_scales,
                    ConstArray logit_opacities, ConstArray normals, double scale, double steepness,
                    double threshold) {
  const size_t count = means.shape(0);
  require(means.size() == 3 * count && quats.size() == 4 * count &&
              log_scales.size() == 3 * count && logit_opacities.size() == count &&
              normals.size() == 3 * count,
          "position_noise needs arrays of the same number of rows");
  const NoiseProblem problem{means.data(),      quats.data(),
                             log_scales.data(), logit_opacities.data(),
                             normals.data(),    static_cast<float>(scale),
                             static_cast<float>(steepness), static_cast<float>(threshold)};
  nb::gil_scoped_release release;
  parallel_ranges(static_cast<long>(count), 1024, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(noise_rows, problem, begin, end);
  });
}

}  // namespace

void bind_training(nb::module_& m) {
  m.def("photometric_loss", &photometric_loss, "image"_a, "target"_a, "mask"_a.none(), "gradient"_a,
        "ssim_weight"_a, "Writes d loss / d image; returns (loss, l1, ssim).");
  m.def("adam", &adam, "parameters"_a, "gradients"_a, "first_moments"_a, "second_moments"_a,
        "learning_rates"_a, "steps"_a, "visible"_a.none(), "beta1"_a, "beta2"_a, "epsilon"_a,
        "One in-place Adam step of the visible rows of every parameter.");
  m.def("position_noise", &position_noise, "means"_a, "quats"_a, "log_scales"_a,
        "logit_opacities"_a, "normals"_a, "scale"_a, "steepness"_a, "threshold"_a,
        "Adds covariance-shaped, opacity-gated noise to `means` in place.");
}

}  // namespace fieldwright
