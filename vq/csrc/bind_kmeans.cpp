// Python names of the nearest-center kernels: search_nearest, search_groups, sum_by_center.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "dispatch.hpp"
#include "group_search.hpp"
#include "kmeans.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

constexpr long kSearchesAtOnce = 1 << 13;  // of one group; repays turning its codes

template <typename T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Matrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

long search(Matrix<const float> points, Matrix<const float> rows, Array<const int32_t> ids,
            int leading, int pairs, Array<const int16_t> tiles, Array<const int32_t> half_norms,
            Array<const float> slack, Array<const int16_t> hub_tiles,
            Array<const int32_t> hub_norms, Array<const float> reach, float step,
            Array<int32_t> positions, Array<float> costs,
            std::optional<Matrix<uint16_t>> bounds, std::optional<Array<const uint16_t>> drift) {
  const long count = static_cast<long>(points.shape(0)), width = static_cast<long>(points.shape(1));
  const long groups = static_cast<long>(slack.shape(0)), stride = (groups + 31) / 32 * 32;
  const long hub_groups = (groups + kGroup - 1) / kGroup;
  require(width > 0 && width % 16 == 0 && static_cast<long>(rows.shape(1)) == width,
          "points and rows must have the same width, a multiple of 16");
  require(pairs >= 4 && pairs <= kMaxPairs && pairs % 4 == 0, "pairs must be 4, 8, ..., 24");
  require(leading >= 1 && leading <= width && leading <= 2 * pairs &&
              (leading == width || leading < 2 * pairs),
          "leading must leave room for the norm of the rest");
  require(groups > 0 && static_cast<long>(rows.shape(0)) == groups * kGroup &&
              static_cast<long>(ids.shape(0)) == groups * kGroup &&
              static_cast<long>(half_norms.shape(0)) == groups * kGroup &&
              static_cast<long>(tiles.shape(0)) == groups * kGroup * pairs * 2 &&
              static_cast<long>(reach.shape(0)) == groups,
          "rows, ids, tiles, half_norms and reach must describe the same groups");
  require(static_cast<long>(hub_norms.shape(0)) == hub_groups * kGroup &&
              static_cast<long>(hub_tiles.shape(0)) == hub_groups * kGroup * pairs * 2,
          "hub_tiles and hub_norms must describe the groups");
  require(static_cast<long>(positions.shape(0)) == count &&
              static_cast<long>(costs.shape(0)) == count,
          "positions and costs must have one entry per point");
  require(!bounds || (static_cast<long>(bounds->shape(0)) == count &&
                      static_cast<long>(bounds->shape(1)) == stride),
          "bounds must be [points, groups rounded up to 32]");
  require(!drift || static_cast<long>(drift->shape(0)) == stride,
          "drift must have one entry per group, rounded up to 32");
  for (long i = 0; i < count; ++i) {
    const int32_t at = positions.data()[i];
    require(at >= -1 && at < groups * kGroup && (at < 0 || ids.data()[at] >= 0),
            "a position is out of range");
  }
  const CenterGroups centers{static_cast<int>(width), leading, pairs, groups, rows.data(),
                             ids.data(), tiles.data(), half_norms.data(), slack.data(),
                             hub_tiles.data(), hub_norms.data(), reach.data(), step};
  const SearchProblem problem{points.data(), positions.data(), costs.data(),
                              bounds ? bounds->data() : nullptr, stride, drift.has_value(),
                              drift ? drift->data() : nullptr};
  nb::gil_scoped_release release;
  std::vector<long> scanned(kMaxRanges);
  parallel_ranges(count, 4 * kBatch, [&](long begin, long end, int range) {
    FIELDWRIGHT_DISPATCH(search_nearest, centers, problem, begin, end, &scanned[range]);
  });
  long total = 0;
  for (const long part : scanned) total += part;
  return total;
}

void require_starts(const Array<const int64_t>& starts, long total) {
  const long groups = static_cast<long>(starts.shape(0)) - 1;
  require(groups >= 0 && starts.data()[0] == 0 && starts.data()[groups] == total,
          "starts must go from 0 to the number of rows");
  for (long g = 0; g < groups; ++g)
    require(starts.data()[g] <= starts.data()[g + 1], "starts must ascend");
}

void search_groups(Matrix<const float> points, Array<const int32_t> rows,
                   Array<const int64_t> row_starts, Matrix<const float> codes,
                   Array<const int64_t> code_starts, Array<int32_t> indices, Array<float> costs) {
  const long searches = static_cast<long>(rows.shape(0)), count = static_cast<long>(points.shape(0));
  require(points.shape(1) == codes.shape(1), "points and codes must have the same width");
  require(static_cast<long>(indices.shape(0)) == searches &&
              static_cast<long>(costs.shape(0)) == searches &&
              row_starts.shape(0) == code_starts.shape(0),
          "rows, indices and costs, and both starts, must have the same length");
  require_starts(row_starts, searches);
  require_starts(code_starts, static_cast<long>(codes.shape(0)));
  for (long i = 0; i < searches; ++i)
    require(rows.data()[i] >= 0 && rows.data()[i] < count, "a row is out of range");
  const GroupSearch problem{static_cast<int>(points.shape(1)), points.data(), rows.data(),
                            codes.data(), code_starts.data(), indices.data(), costs.data()};
  nb::gil_scoped_release release;
  struct Part {
    long group, begin, end;
  };
  std::vector<Part> parts;
  for (long group = 0; group + 1 < static_cast<long>(row_starts.shape(0)); ++group)
    for (long begin = row_starts.data()[group]; begin < row_starts.data()[group + 1];
         begin += kSearchesAtOnce)
      parts.push_back({group, begin,
                       std::min(begin + kSearchesAtOnce, long{row_starts.data()[group + 1]})});
  parallel_for(static_cast<int>(parts.size()), [&](int i) {
    const Part& part = parts[i];
    FIELDWRIGHT_DISPATCH(search_group, problem, part.group, part.begin, part.end);
  });
}

void sum_by_center(Matrix<const float> points, std::optional<Array<const float>> weights,
                   Array<const int32_t> positions, Matrix<double> sums, Array<double> totals) {
  const long count = static_cast<long>(points.shape(0)), width = static_cast<long>(points.shape(1));
  const long centers = static_cast<long>(sums.shape(0));
  require(static_cast<long>(positions.shape(0)) == count &&
              static_cast<long>(sums.shape(1)) == width &&
              static_cast<long>(totals.shape(0)) == centers &&
              (!weights || static_cast<long>(weights->shape(0)) == count),
          "points, weights, positions, sums and totals do not fit together");
  nb::gil_scoped_release release;
  // Counting sort: the points of a center in ascending order, whatever the number of threads.
  std::vector<int64_t> first(centers + 1), order(count);
  for (long i = 0; i < count; ++i) {
    require(positions.data()[i] >= 0 && positions.data()[i] < centers, "a position is out of range");
    ++first[positions.data()[i] + 1];
  }
  for (long c = 0; c < centers; ++c) first[c + 1] += first[c];
  std::vector<int64_t> next(first.begin(), first.end() - 1);
  for (long i = 0; i < count; ++i) order[next[positions.data()[i]]++] = i;
  parallel_ranges(centers, 8, [&](long begin, long end, int) {
    for (long c = begin; c < end; ++c)
      FIELDWRIGHT_DISPATCH(add_rows, points.data(), weights ? weights->data() : nullptr,
                           order.data(), first[c], first[c + 1], static_cast<int>(width),
                           sums.data() + c * width, totals.data() + c);
  });
}

}  // namespace

void bind_kmeans(nb::module_& m) {
  m.def("search_nearest", &search, "points"_a, "rows"_a, "ids"_a, "leading"_a, "pairs"_a,
        "tiles"_a, "half_norms"_a, "slack"_a, "hub_tiles"_a, "hub_norms"_a, "reach"_a, "step"_a,
        "positions"_a, "costs"_a, "bounds"_a.none(), "drift"_a.none(),
        "Move positions to each point's nearest center, fill costs and bounds; returns how many "
        "pairs of a point and a group were scanned.");
  m.def("search_groups", &search_groups, "points"_a, "rows"_a, "row_starts"_a, "codes"_a,
        "code_starts"_a, "indices"_a, "costs"_a,
        "Fill indices and costs with the nearest code in its group for each of rows.");
  m.def("sum_by_center", &sum_by_center, "points"_a, "weights"_a.none(), "positions"_a, "sums"_a,
        "totals"_a, "Add the weighted points and the weights to the rows of their centers.");
}

}  // namespace fieldwright
