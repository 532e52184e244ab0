// Python names of the CP and VM kernels. Arrays are addresses of dense memory that
// fields/tensors checks.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <vector>

#include "dispatch.hpp"
#include "tensors.hpp"
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

constexpr long kSamples = 256;

CpProblem cp_problem(Address vectors, Address offsets, Address tensors, Address local,
                     Address weights, int nodes, int rank, bool summed) {
  return {at<const float>(vectors),   at<const int64_t>(offsets), at<const int32_t>(tensors),
          at<const float>(local),     at<const float>(weights),   nodes,
          rank,                       summed};
}

void cp_forward(Address vectors, Address offsets, Address tensors, Address local, Address weights,
                int nodes, int rank, bool summed, Address out, long samples) {
  const auto p = cp_problem(vectors, offsets, tensors, local, weights, nodes, rank, summed);
  nb::gil_scoped_release release;
  parallel_ranges(samples, kSamples, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(cp_samples, p, at<float>(out), begin, end);
  });
}

void cp_backward(Address vectors, Address offsets, Address tensors, Address local, Address weights,
                 int nodes, int rank, bool summed, Address gradients, Address out, long samples,
                 long count) {
  const auto p = cp_problem(vectors, offsets, tensors, local, weights, nodes, rank, summed);
  nb::gil_scoped_release release;
  const long pairs = p.offsets[samples];
  std::vector<int64_t> starts(count + 1, 0), sorted(pairs);
  std::vector<int32_t> of_pair(pairs);
  for (long s = 0; s < samples; ++s)
    for (long i = p.offsets[s]; i < p.offsets[s + 1]; ++i) {
      of_pair[i] = static_cast<int32_t>(s);
      ++starts[p.tensors[i] + 1];
    }
  for (long t = 0; t < count; ++t) starts[t + 1] += starts[t];
  std::vector<int64_t> next(starts.begin(), starts.end() - 1);
  for (long i = 0; i < pairs; ++i) sorted[next[p.tensors[i]]++] = i;
  const CpOrder order{starts.data(), sorted.data(), of_pair.data()};
  parallel_ranges(count, 4, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(cp_tensors, p, order, at<const float>(gradients), at<float>(out), begin,
                         end);
  });
}

VmProblem vm_problem(Address plane0, Address plane1, Address plane2, Address line0, Address line1,
                     Address line2, Address points, int x, int y, int z, int rank, bool summed) {
  return {{at<const float>(plane0), at<const float>(plane1), at<const float>(plane2)},
          {at<const float>(line0), at<const float>(line1), at<const float>(line2)},
          at<const float>(points),
          {x, y, z},
          rank,
          summed};
}

void vm_forward(Address plane0, Address plane1, Address plane2, Address line0, Address line1,
                Address line2, Address points, int x, int y, int z, int rank, bool summed,
                Address out, long samples) {
  const auto p =
      vm_problem(plane0, plane1, plane2, line0, line1, line2, points, x, y, z, rank, summed);
  nb::gil_scoped_release release;
  parallel_ranges(samples, kSamples, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(vm_samples, p, at<float>(out), begin, end);
  });
}

// Samples by the band of nodes that they fall into along one axis. Bands are at least two nodes
// wide, so that bands of even number never write the same node, nor do those of odd number.
struct Bands {
  static constexpr int kMost = 32;
  std::vector<int32_t> list;
  std::vector<long> starts;
  int count;

  Bands(const float* points, int axis, int nodes, long samples)
      : list(samples), count(std::clamp((nodes - 1) / 2, 1, kMost)) {
    starts.assign(count + 1, 0);
    std::vector<uint8_t> band(samples);
    const float scale = static_cast<float>(nodes - 1);
    for (long s = 0; s < samples; ++s) {
      const float x = std::min(std::max(points[3 * s + axis], 0.0f), 1.0f);
      const int node = std::min(static_cast<int>(x * scale), nodes - 2);
      band[s] = static_cast<uint8_t>(node * count / (nodes - 1));
      ++starts[band[s] + 1];
    }
    for (int i = 0; i < count; ++i) starts[i + 1] += starts[i];
    std::vector<long> next(starts.begin(), starts.end() - 1);
    for (long s = 0; s < samples; ++s) list[next[band[s]]++] = static_cast<int32_t>(s);
  }

  // body(first of the list, count) for each band, even ones first.
  template <typename Body>
  void each(const Body& body) const {
    for (int parity = 0; parity < 2; ++parity)
      parallel_for((count + 1 - parity) / 2, [&](int i) {
        const int b = 2 * i + parity;
        body(list.data() + starts[b], starts[b + 1] - starts[b]);
      });
  }
};

void vm_backward(Address plane0, Address plane1, Address plane2, Address line0, Address line1,
                 Address line2, Address points, int x, int y, int z, int rank, bool summed,
                 Address gradients, Address for_plane0, Address for_plane1, Address for_plane2,
                 Address for_line0, Address for_line1, Address for_line2, long samples) {
  const auto p =
      vm_problem(plane0, plane1, plane2, line0, line1, line2, points, x, y, z, rank, summed);
  float* planes[3] = {at<float>(for_plane0), at<float>(for_plane1), at<float>(for_plane2)};
  float* lines[3] = {at<float>(for_line0), at<float>(for_line1), at<float>(for_line2)};
  const float* given = at<const float>(gradients);
  nb::gil_scoped_release release;
  std::vector<Bands> bands;
  for (int axis = 0; axis < 3; ++axis) bands.emplace_back(p.points, axis, p.size[axis], samples);
  for (int k = 0; k < 3; ++k) {
    bands[kPlaneAxes[k][0]].each([&](const int32_t* list, long count) {
      FIELDWRIGHT_DISPATCH(vm_plane, p, k, given, planes[k], list, count);
    });
    bands[kLineAxis[k]].each([&](const int32_t* list, long count) {
      FIELDWRIGHT_DISPATCH(vm_line, p, k, given, lines[k], list, count);
    });
  }
}

}  // namespace

void bind_tensors(nb::module_& m) {
  m.def("cp_forward", &cp_forward, "vectors"_a, "offsets"_a, "tensors"_a, "local"_a, "weights"_a,
        "nodes"_a, "rank"_a, "summed"_a, "out"_a, "samples"_a,
        "Weighted products of local CP tensors at samples.");
  m.def("cp_backward", &cp_backward, "vectors"_a, "offsets"_a, "tensors"_a, "local"_a,
        "weights"_a, "nodes"_a, "rank"_a, "summed"_a, "gradients"_a, "out"_a, "samples"_a,
        "count"_a, "Gradients of `cp_forward` towards the vectors of `count` tensors.");
  m.def("vm_forward", &vm_forward, "plane0"_a, "plane1"_a, "plane2"_a, "line0"_a, "line1"_a,
        "line2"_a, "points"_a, "x"_a, "y"_a, "z"_a, "rank"_a, "summed"_a, "out"_a, "samples"_a,
        "Products of planes and lines at points.");
  m.def("vm_backward", &vm_backward, "plane0"_a, "plane1"_a, "plane2"_a, "line0"_a, "line1"_a,
        "line2"_a, "points"_a, "x"_a, "y"_a, "z"_a, "rank"_a, "summed"_a, "gradients"_a,
        "for_plane0"_a, "for_plane1"_a, "for_plane2"_a, "for_line0"_a, "for_line1"_a,
        "for_line2"_a, "samples"_a, "Adds the gradients of `vm_forward` to zeroed arrays.");
}

}  // namespace fieldwright
