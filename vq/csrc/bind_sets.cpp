// Python names of the kernels for sets of points: Morton codes, neighbors, points and columns.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <vector>

#include "context_columns.hpp"
#include "morton.hpp"
#include "neighbors.hpp"
#include "octree.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

using ConstPoints = nb::ndarray<const uint32_t, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;
using Points = nb::ndarray<uint32_t, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;
using Codes = nb::ndarray<uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstColumn = nb::ndarray<const uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Column = nb::ndarray<uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Indices = nb::ndarray<int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Near = nb::ndarray<const int32_t, nb::shape<-1, kNear>, nb::c_contig, nb::device::cpu>;
using CoarsenessBase = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ColumnWeights = nb::ndarray<const int16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

nb::bytes to_bytes(const std::vector<uint8_t>& data) {
  return nb::bytes(data.data(), data.size());
}

void fill_morton_codes(ConstPoints points, Codes codes) {
  require(points.shape(0) == codes.shape(0), "points and codes must have the same length");
  nb::gil_scoped_release release;
  morton_codes(points.data(), static_cast<long>(points.shape(0)), codes.data());
}

void fill_neighbors(ConstPoints points, Indices neighbors) {
  require(points.shape(0) == neighbors.shape(0) && neighbors.shape(1) > 0,
          "neighbors must be [N, k >= 1] to match points");
  nb::gil_scoped_release release;
  earlier_neighbors(points.data(), static_cast<long>(points.shape(0)),
                    static_cast<int>(neighbors.shape(1)), neighbors.data());
}

nb::bytes points_to_bytes(ConstPoints points, int bits) {
  require(bits >= 0 && bits <= 21 && points.shape(0) > 0, "bits must lie in [0, 21]");
  std::vector<uint8_t> data;
  {
    nb::gil_scoped_release release;
    data = encode_points(points.data(), static_cast<long>(points.shape(0)), bits);
  }
  return to_bytes(data);
}

bool points_from_bytes(nb::bytes data, int bits, Points points) {
  require(bits >= 0 && bits <= 21 && points.shape(0) > 0, "bits must lie in [0, 21]");
  const auto* begin = static_cast<const uint8_t*>(data.data());
  const size_t size = data.size();
  nb::gil_scoped_release release;
  return decode_points(begin, size, static_cast<long>(points.shape(0)), bits, points.data());
}

ColumnContext column_context(const Near& neighbors, const std::vector<ConstColumn>& parents,
                             const ColumnWeights& weights, int bits, size_t count) {
  require(neighbors.shape(0) == count, "neighbors must match the values");
  require(bits >= 1 && bits <= 24, "bits must lie in [1, 24]");
  require(parents.size() <= kMaxParents, "too many parents");
  require(static_cast<int>(weights.size()) == column_features(static_cast<int>(parents.size())),
          "weights must have one entry per feature");
  for (size_t i = 0; i < neighbors.size(); ++i)
    require(neighbors.data()[i] >= -1 &&
                neighbors.data()[i] < static_cast<int32_t>(i / kNear),
            "neighbors must be earlier points");
  ColumnContext context{static_cast<long>(count), neighbors.data(), {}, weights.data(), bits};
  for (const ConstColumn& parent : parents) {
    require(parent.shape(0) == count, "parents must match the values");
    context.parents.push_back(parent.data());
  }
  return context;
}

ColumnContext coarsened(ColumnContext context, const CoarsenessBase& base, int64_t own, int most) {
  if (base.size() == 0) return context;
  require(static_cast<long>(base.size()) == context.count, "coarseness must match the values");
  require(most >= 1 && most <= 16, "most must lie in [1, 16]");
  context.coarseness = base.data();
  context.own = own;
  context.most = most;
  return context;
}

void fill_features(Near neighbors, const std::vector<ConstColumn>& parents, ConstColumn values,
                   long stride, Indices features) {
  const std::vector<int16_t> zeros(column_features(static_cast<int>(parents.size())), 0);
  const size_t shape[1] = {zeros.size()};
  const ColumnWeights weights(zeros.data(), 1, shape);
  const ColumnContext context = column_context(neighbors, parents, weights, 24, values.shape(0));
  require(stride > 0 && features.shape(1) == zeros.size() &&
              features.shape(0) == (values.shape(0) + stride - 1) / stride,
          "features must be [ceil(N / stride), features]");
  nb::gil_scoped_release release;
  gather_features(context, values.data(), stride, features.data());
}

nb::bytes column_to_bytes(Near neighbors, const std::vector<ConstColumn>& parents,
                          ColumnWeights weights, int bits, CoarsenessBase coarseness, int64_t own, int most,
                          ConstColumn values) {
  const ColumnContext context =
      coarsened(column_context(neighbors, parents, weights, bits, values.shape(0)), coarseness,
                own, most);
  std::vector<uint8_t> data;
  {
    nb::gil_scoped_release release;
    data = encode_column(context, values.data());
  }
  return to_bytes(data);
}

bool column_from_bytes(nb::bytes data, Near neighbors, const std::vector<ConstColumn>& parents,
                       ColumnWeights weights, int bits, CoarsenessBase coarseness, int64_t own, int most,
                       Column values) {
  const ColumnContext context =
      coarsened(column_context(neighbors, parents, weights, bits, values.shape(0)), coarseness,
                own, most);
  const auto* begin = static_cast<const uint8_t*>(data.data());
  const size_t size = data.size();
  nb::gil_scoped_release release;
  return decode_column(context, begin, size, values.data());
}

}  // namespace

void bind_sets(nb::module_& m) {
  m.def("morton_codes", &fill_morton_codes, "points"_a, "codes"_a,
        "Fill codes [N] with the interleaved bits of points [N, 3]; x takes the lowest bit.");
  m.def("earlier_neighbors", &fill_neighbors, "points"_a, "neighbors"_a,
        "Fill neighbors [N, k] with the nearest earlier points of points [N, 3], -1 past the end.");
  m.def("encode_points", &points_to_bytes, "points"_a, "bits"_a,
        "Points [N >= 1, 3] below 2^bits in Morton order as bytes.");
  m.def("decode_points", &points_from_bytes, "data"_a, "bits"_a, "points"_a,
        "Fill points [N, 3]; False if no encoder wrote the bytes.");
  m.def("column_features", &fill_features, "neighbors"_a, "parents"_a, "values"_a, "stride"_a,
        "features"_a, "Fill features with the inputs of the prediction of every stride-th value.");
  m.def("encode_column", &column_to_bytes, "neighbors"_a, "parents"_a, "weights"_a, "bits"_a,
        "coarseness"_a, "own"_a, "most"_a, "values"_a,
        "One column of values below 2^bits as bytes; coarseness [N] or [0], see ColumnContext.");
  m.def("decode_column", &column_from_bytes, "data"_a, "neighbors"_a, "parents"_a, "weights"_a,
        "bits"_a, "coarseness"_a, "own"_a, "most"_a, "values"_a,
        "Fill values [N]; False if no encoder wrote the bytes.");
}

}  // namespace fieldwright
