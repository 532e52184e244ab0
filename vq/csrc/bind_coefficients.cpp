// Python names of the context coder of coefficients: encode_coefficients, decode_coefficients,
// reconstruct.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "coefficients.hpp"
#include "dispatch.hpp"
#include "reconstruct.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

using Integers = nb::ndarray<int32_t, nb::shape<-1, -1>, nb::c_contig, nb::device::cpu>;
using Neighbors = nb::ndarray<const int32_t, nb::shape<-1, kNeighbors>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::shape<-1, -1>, nb::c_contig, nb::device::cpu>;
using Doubles = nb::ndarray<const double, nb::shape<-1, -1>, nb::c_contig, nb::device::cpu>;
using Indices = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Table = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

// The tables of vq.vectors.tables, the segments of the rows and what predicts them.
struct Problem {
  std::vector<int16_t> logits;
  std::vector<uint16_t> probabilities;
  CoefficientTables tables;
  CoefficientRows rows;
  long segment;

  Problem(const std::vector<Table>& found, int count_limit, Integers values, long segment_rows,
          const std::optional<Neighbors>& neighbors)
      : segment(segment_rows) {
    require(found.size() == 4 && found[0].size() == 4096 && found[1].size() == 4096 &&
                found[2].size() == 4096 && found[3].size() == 1024,
            "tables must be the four of vq.vectors.tables");
    require(count_limit >= 0 && count_limit < 1024 && segment_rows > 0, "limits out of range");
    require(values.shape(1) >= 1 && values.shape(1) <= kMaxDims, "values has too many columns");
    logits.assign(found[0].data(), found[0].data() + 4096);
    probabilities.assign(found[1].data(), found[1].data() + 4096);
    tables = {logits.data(), probabilities.data(), found[2].data(), found[3].data(), count_limit};
    rows = {static_cast<long>(values.shape(0)), static_cast<int>(values.shape(1)),
            nullptr};
    if (neighbors) {
      require(neighbors->shape(0) == values.shape(0), "neighbors must match values");
      rows.neighbors = neighbors->data();
      for (long i = 0; i < kNeighbors * rows.rows; ++i)
        require(rows.neighbors[i] >= -1 && rows.neighbors[i] < i / kNeighbors % segment,
                "neighbors must be earlier rows of the segment");
    }
  }

  int segments() const { return static_cast<int>((rows.rows + segment - 1) / segment); }

  CoefficientRows part(int index) const {
    const long begin = index * segment;
    CoefficientRows part = rows;
    part.rows = std::min(segment, rows.rows - begin);
    if (rows.neighbors) part.neighbors += kNeighbors * begin;
    return part;
  }
};

std::vector<nb::bytes> encode(Integers values, std::optional<Floats> scaled,
                              std::optional<Floats> centroids, double trade,
                              const std::vector<Table>& tables, int count_limit,
                              long segment_rows,
                              std::optional<Neighbors> neighbors) {
  const Problem problem(tables, count_limit, values, segment_rows, neighbors);
  if (scaled)
    require(scaled->shape(0) == values.shape(0) && scaled->shape(1) == values.shape(1) &&
                centroids && centroids->shape(0) == values.shape(1) && centroids->shape(1) == 3,
            "scaled and centroids must match values");
  std::vector<std::vector<uint32_t>> words(problem.segments());
  {
    nb::gil_scoped_release release;
    parallel_for(problem.segments(), [&](int index) {
      const long begin = index * segment_rows * problem.rows.dims;
      const Rounding rounding{scaled ? scaled->data() + begin : nullptr,
                              centroids ? centroids->data() : nullptr, trade};
      FIELDWRIGHT_DISPATCH(encode_coefficients, problem.part(index), problem.tables,
                           scaled ? &rounding : nullptr, values.data() + begin, words[index]);
    });
  }
  std::vector<nb::bytes> streams;
  for (auto& part : words) {
    for (uint32_t& word : part) word = __builtin_bswap32(word);
    size_t size = 4 * part.size();
    const char* data = reinterpret_cast<const char*>(part.data());
    while (size > 0 && data[size - 1] == 0) --size;
    streams.emplace_back(data, size);
  }
  return streams;
}

bool decode(const std::vector<nb::bytes>& streams, Integers values,
            const std::vector<Table>& tables, int count_limit, long segment_rows,
            std::optional<Neighbors> neighbors) {
  const Problem problem(tables, count_limit, values, segment_rows, neighbors);
  require(static_cast<int>(streams.size()) == problem.segments(), "one stream per segment");
  std::vector<uint8_t> valid(problem.segments());
  std::vector<std::pair<const uint8_t*, long>> views;
  for (const nb::bytes& stream : streams)
    views.emplace_back(reinterpret_cast<const uint8_t*>(stream.c_str()),
                       static_cast<long>(stream.size()));
  nb::gil_scoped_release release;
  parallel_for(problem.segments(), [&](int index) {
    bool good = false;
    FIELDWRIGHT_DISPATCH(decode_coefficients, problem.part(index), problem.tables,
                         views[index].first, views[index].second,
                         values.data() + index * segment_rows * problem.rows.dims, good);
    valid[index] = good;
  });
  return std::all_of(valid.begin(), valid.end(), [](uint8_t good) { return good != 0; });
}

void rows_of(nb::ndarray<const int32_t, nb::shape<-1, -1>, nb::c_contig, nb::device::cpu> values,
             std::optional<Indices> indices, Doubles matrix, Doubles shifts, double scale,
             Doubles base, double unit,
             nb::ndarray<float, nb::shape<-1, -1>, nb::c_contig, nb::device::cpu> out) {
  const long rows = static_cast<long>(values.shape(0));
  const size_t rank = values.shape(1), dims = out.shape(1), num_codes = base.shape(0) - 1;
  require(base.shape(0) >= 1 && base.shape(1) == dims && out.shape(0) == values.shape(0) &&
              matrix.shape(0) == rank && matrix.shape(1) == dims && shifts.shape(0) == rank &&
              shifts.shape(1) == 4,
          "values, matrix, shifts, base and out must match");
  if (indices) {
    require(indices->shape(0) == values.shape(0), "indices must match values");
    for (long i = 0; i < rows; ++i)
      require(static_cast<uint64_t>(indices->data()[i]) < num_codes, "indices must name codes");
  }
  const Reconstruction plan{static_cast<int>(rank), static_cast<int>(dims), matrix.data(),
                            shifts.data(),          scale,                  base.data(),
                            indices ? base.data() + dims : nullptr,         unit};
  constexpr long kBlock = 4096;
  nb::gil_scoped_release release;
  parallel_for(static_cast<int>((rows + kBlock - 1) / kBlock), [&](int block) {
    const long begin = block * kBlock;
    FIELDWRIGHT_DISPATCH(reconstruct, plan, values.data() + begin * plan.rank,
                         indices ? indices->data() + begin : nullptr,
                         std::min(kBlock, rows - begin), out.data() + begin * plan.dims);
  });
}

}  // namespace

void bind_coefficients(nb::module_& m) {
  m.def("encode_coefficients", &encode, "values"_a, "scaled"_a.none(), "centroids"_a.none(),
        "trade"_a, "tables"_a, "count_limit"_a, "segment_rows"_a,
        "neighbors"_a.none(),
        "One stream per segment of values [N, D]; with scaled, values are chosen and filled in.");
  m.def("decode_coefficients", &decode, "streams"_a, "values"_a, "tables"_a, "count_limit"_a,
        "segment_rows"_a, "neighbors"_a.none(),
        "Fill values [N, D] from the streams; False if no encoder wrote them.");
  m.def("reconstruct", &rows_of, "values"_a, "indices"_a.none(), "matrix"_a, "shifts"_a, "scale"_a,
        "base"_a, "unit"_a, "out"_a,
        "Fill out [N, D] with (base[0] + base[1 + index] + sizes @ matrix) unit; exact but for it.");
}

}  // namespace fieldwright
