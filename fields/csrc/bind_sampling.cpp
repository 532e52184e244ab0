// Python names of sampling. Arrays are addresses of dense memory that the callers in fields check.
// Both searches run twice: once to count, and once, with room for all, to write.
#include <nanobind/nanobind.h>

#include "sampling.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

using Address = uintptr_t;
constexpr long kRays = 64, kPoints = 512;

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

Marching marching(Address origins, Address directions, Address begins, Address counts,
                  Address occupied, Address low_and_scale, int resolution, float step) {
  const float* box = at<const float>(low_and_scale);
  return {at<const float>(origins), at<const float>(directions), at<const float>(begins),
          at<const int64_t>(counts), at<const uint8_t>(occupied), {box[0], box[1], box[2]},
          {box[3], box[4], box[5]}, resolution, step};
}

void march_count(Address origins, Address directions, Address begins, Address counts,
                 Address occupied, Address low_and_scale, int resolution, float step, Address out,
                 long rays) {
  const auto m = marching(origins, directions, begins, counts, occupied, low_and_scale, resolution,
                          step);
  nb::gil_scoped_release release;
  parallel_ranges(rays, kRays, [&](long begin, long end, int) {
    for (long r = begin; r < end; ++r) {
      int64_t found = 0;
      march(m, r, [&](float) { ++found; });
      at<int64_t>(out)[r] = found;
    }
  });
}

void march_write(Address origins, Address directions, Address begins, Address counts,
                 Address occupied, Address low_and_scale, int resolution, float step,
                 Address offsets, Address out, long rays) {
  const auto m = marching(origins, directions, begins, counts, occupied, low_and_scale, resolution,
                          step);
  nb::gil_scoped_release release;
  parallel_ranges(rays, kRays, [&](long begin, long end, int) {
    for (long r = begin; r < end; ++r) {
      float* next = at<float>(out) + at<const int64_t>(offsets)[r];
      march(m, r, [&](float distance) { *next++ = distance; });
    }
  });
}

Lattice lattice(Address coarse, Address bricks, int side, Address low_and_pitch, float half) {
  const float* box = at<const float>(low_and_pitch);
  return {at<const int32_t>(coarse), at<const int32_t>(bricks), side,
          {box[0], box[1], box[2]}, box[3], half};
}

void cubes_count(Address points, Address coarse, Address bricks, int side, Address low_and_pitch,
                 float half, Address out, long count) {
  const auto l = lattice(coarse, bricks, side, low_and_pitch, half);
  nb::gil_scoped_release release;
  parallel_ranges(count, kPoints, [&](long begin, long end, int) {
    for (long p = begin; p < end; ++p) {
      int64_t found = 0;
      covering(l, at<const float>(points) + 3 * p, [&](int32_t, const float*, float) { ++found; });
      at<int64_t>(out)[p] = found;
    }
  });
}

void cubes_write(Address points, Address coarse, Address bricks, int side, Address low_and_pitch,
                 float half, Address offsets, Address cubes, Address local, Address weights,
                 long count) {
  const auto l = lattice(coarse, bricks, side, low_and_pitch, half);
  nb::gil_scoped_release release;
  parallel_ranges(count, kPoints, [&](long begin, long end, int) {
    for (long p = begin; p < end; ++p) {
      int64_t i = at<const int64_t>(offsets)[p];
      covering(l, at<const float>(points) + 3 * p,
               [&](int32_t cube, const float* where, float weight) {
                 at<int32_t>(cubes)[i] = cube;
                 for (int axis = 0; axis < 3; ++axis) at<float>(local)[3 * i + axis] = where[axis];
                 at<float>(weights)[i++] = weight;
               });
    }
  });
}

}  // namespace

void bind_sampling(nb::module_& m) {
  m.def("march_count", &march_count, "origins"_a, "directions"_a, "begins"_a, "counts"_a,
        "occupied"_a, "low_and_scale"_a, "resolution"_a, "step"_a, "out"_a, "rays"_a,
        "Steps of each ray in occupied cells.");
  m.def("march_write", &march_write, "origins"_a, "directions"_a, "begins"_a, "counts"_a,
        "occupied"_a, "low_and_scale"_a, "resolution"_a, "step"_a, "offsets"_a, "out"_a, "rays"_a,
        "Distances at which those steps begin.");
  m.def("cubes_count", &cubes_count, "points"_a, "coarse"_a, "bricks"_a, "side"_a,
        "low_and_pitch"_a, "half"_a, "out"_a, "count"_a, "Cubes that cover each point.");
  m.def("cubes_write", &cubes_write, "points"_a, "coarse"_a, "bricks"_a, "side"_a,
        "low_and_pitch"_a, "half"_a, "offsets"_a, "cubes"_a, "local"_a, "weights"_a, "count"_a,
        "Those cubes, where in them the points lie, and their shares.");
}

}  // namespace fieldwright
