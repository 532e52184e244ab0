// Python names of the tri-vector kernels. Arrays are addresses of dense memory that
// fields/trivec/kernels.py has checked.
#include <nanobind/nanobind.h>

#include <algorithm>

#include "dispatch.hpp"
#include "thread_pool.hpp"
#include "trivec.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

using Address = uintptr_t;

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// A field on loan from Python, which keeps its arrays alive.
struct Model : TrivecModel {
  Model(Address vectors, Address densities, Address colors, Address masks, Address ranks,
        long leaves, int nodes, int rank, int bases, float shift, float unit)
      : TrivecModel{at<const float>(vectors), at<const float>(densities), at<const float>(colors),
                    at<const uint64_t>(masks), at<const uint8_t>(ranks), leaves, nodes, rank,
                    bases, shift, 1.0f / unit} {}
};

struct RayArguments : TrivecRays {
  RayArguments(Address origins, Address directions, Address jitter, Address bases, float step,
               float early_stop)
      : TrivecRays{at<const float>(origins), at<const float>(directions), at<const float>(jitter),
                   at<const float>(bases), step, early_stop} {}
};

constexpr long kRays = 32;

void forward(const Model& model, Address children, float x, float y, float z, float side,
             const RayArguments& rays, Address colors, Address opacities, Address distances,
             Address medians, long count, Tape* tape) {
  const OctreeView tree{at<const int32_t>(children), {x, y, z}, side};
  const TrivecOutput out{at<float>(colors), at<float>(opacities), at<float>(distances),
                         at<float>(medians)};
  nb::gil_scoped_release release;
  if (tape) {
    tape->num_rays = count;
    tape->ranges.resize(kMaxRanges);
    for (RangeTape& range : tape->ranges)
      range.segments.clear(), range.samples.clear(), range.rays.clear();
  }
  parallel_ranges(count, kRays, [&](long begin, long end, int range) {
    FIELDWRIGHT_DISPATCH(trivec_rays, model, tree, rays, out, tape ? &tape->ranges[range] : nullptr,
                         begin, end);
  });
}

LeafLists sorted_by_leaf(const Tape& tape, long leaves) {
  LeafLists lists;
  lists.offsets.assign(leaves + 1, 0);
  size_t total = 0;
  for (const RangeTape& range : tape.ranges) {
    total += range.segments.size();
    for (const Segment& segment : range.segments) ++lists.offsets[segment.leaf + 1];
  }
  for (long i = 0; i < leaves; ++i) lists.offsets[i + 1] += lists.offsets[i];
  lists.items.resize(total);
  std::vector<int32_t> next(lists.offsets.begin(), lists.offsets.end() - 1);
  for (size_t range = 0; range < tape.ranges.size(); ++range)
    for (size_t s = 0; s < tape.ranges[range].segments.size(); ++s)
      lists.items[next[tape.ranges[range].segments[s].leaf]++] = {static_cast<int32_t>(range),
                                                                  static_cast<int32_t>(s)};
  return lists;
}

void backward(const Model& model, const RayArguments& rays, Tape& tape, Address colors,
              Address opacities, Address distances, Address for_vectors, Address for_densities,
              Address for_colors, Address seen) {
  const TrivecRayGradients given{at<const float>(colors), at<const float>(opacities),
                                 at<const float>(distances)};
  const TrivecGradients out{at<float>(for_vectors), at<float>(for_densities),
                            at<float>(for_colors), at<uint8_t>(seen)};
  nb::gil_scoped_release release;
  parallel_for(static_cast<int>(tape.ranges.size()), [&](int range) {
    FIELDWRIGHT_DISPATCH(trivec_ray_gradients, rays, given, tape.ranges[range]);
  });
  const LeafLists lists = sorted_by_leaf(tape, model.leaves);
  parallel_ranges(model.leaves, 16, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(trivec_leaf_gradients, model, rays, tape, lists, out, begin, end);
  });
}

void points(const Model& model, Address leaves, Address local, Address bases, Address densities,
            Address colors, long count) {
  nb::gil_scoped_release release;
  parallel_ranges(count, 256, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(trivec_points, model, at<const int32_t>(leaves), at<const float>(local),
                         at<const float>(bases), at<float>(densities), at<float>(colors), begin,
                         end);
  });
}

void lattice(const Model& model, int side, Address densities) {
  nb::gil_scoped_release release;
  parallel_ranges(model.leaves, 4, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(trivec_lattice, model, side, at<float>(densities), begin, end);
  });
}

long num_samples(const Tape& tape) {
  long total = 0;
  for (const RangeTape& range : tape.ranges) total += static_cast<long>(range.samples.size());
  return total;
}

}  // namespace

void bind_trivec(nb::module_& m) {
  nb::class_<Model>(m, "TrivecModel", "Leaves on loan; their arrays must outlive it.")
      .def(nb::init<Address, Address, Address, Address, Address, long, int, int, int, float,
                    float>(),
           "vectors"_a, "densities"_a, "colors"_a, "masks"_a, "ranks"_a, "leaves"_a, "nodes"_a,
           "rank"_a, "bases"_a, "shift"_a, "unit"_a);
  nb::class_<RayArguments>(m, "TrivecRays", "Rays on loan; their arrays must outlive it.")
      .def(nb::init<Address, Address, Address, Address, float, float>(), "origins"_a,
           "directions"_a, "jitter"_a, "bases"_a, "step"_a, "early_stop"_a);
  nb::class_<Tape>(m, "TrivecTape", "What a forward pass keeps for its backward pass.")
      .def(nb::init<>())
      .def_prop_ro("num_samples", &num_samples, "Samples that were evaluated.");
  m.def("trivec_forward", &forward, "model"_a, "children"_a, "x"_a, "y"_a, "z"_a, "side"_a,
        "rays"_a, "colors"_a, "opacities"_a, "distances"_a, "medians"_a, "count"_a,
        "tape"_a.none(), "Draw rays; fills the tape if there is one.");
  m.def("trivec_backward", &backward, "model"_a, "rays"_a, "tape"_a, "colors"_a, "opacities"_a,
        "distances"_a, "for_vectors"_a, "for_densities"_a, "for_colors"_a, "seen"_a,
        "Gradients of `trivec_forward`; uses the tape up.");
  m.def("trivec_points", &points, "model"_a, "leaves"_a, "local"_a, "bases"_a, "densities"_a,
        "colors"_a, "count"_a, "Density and color at points inside leaves.");
  m.def("trivec_lattice", &lattice, "model"_a, "side"_a, "densities"_a,
        "Densities on a lattice of each leaf, faces included.");
}

}  // namespace fieldwright
