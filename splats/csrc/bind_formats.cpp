// Python names of the kernels of splats.formats and splats.compact: move_columns,
// graded_integers, round_to_grids.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "columns.hpp"
#include "dispatch.hpp"
#include "grading.hpp"
#include "grid.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

using Offsets = std::vector<int32_t>;
using Move = std::tuple<uintptr_t, long, uintptr_t, long, Offsets, Offsets>;

bool move_all(long rows, const std::vector<Move>& moves, bool swap) {
  std::vector<ColumnMove> checked;
  for (const auto& [source, source_stride, target, target_stride, from, to] : moves) {
    if (from.size() != to.size())
      throw std::invalid_argument("move_columns needs one target offset per source offset");
    checked.push_back({reinterpret_cast<const char*>(source), source_stride,
                       reinterpret_cast<char*>(target), target_stride, from, to});
  }
  nb::gil_scoped_release release;
  std::atomic<bool> bad{false};
  parallel_ranges(rows, 2048, [&](long begin, long end, int) {
    if (move_columns(checked, swap, begin, end)) bad = true;
  });
  return bad;
}

using Numbers = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Found = nb::ndarray<int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Term = std::tuple<std::vector<int64_t>, std::vector<int64_t>, int64_t, int64_t>;
using Rule = std::tuple<int, int64_t, int64_t, std::vector<Term>>;

// The first `descending` columns are at most the ones before them.
std::vector<GradingRule> checked_rules(const std::vector<Rule>& rules, int descending) {
  std::vector<GradingRule> checked;
  for (size_t column = 0; column < rules.size(); ++column) {
    const auto& [most, constant, own, terms] = rules[column];
    if (most < 0 || most > 62) throw std::invalid_argument("`most` must lie in [0, 62]");
    GradingRule rule{most, constant, own, {}, false, false};
    for (const auto& [columns, factors, low, high] : terms) {
      if (columns.size() != factors.size() || low > high)
        throw std::invalid_argument("a term needs one factor per column and ordered bounds");
      for (const int64_t known : columns)
        if (known < 0 || known >= static_cast<int64_t>(column))
          throw std::invalid_argument("a term may use earlier columns only");
      rule.terms.push_back({columns, factors, low, high});
    }
    rule.descends = column > 0 && static_cast<int>(column) < descending;
    rule.repeats = column > 0 && terms == std::get<3>(rules[column - 1]);
    checked.push_back(std::move(rule));
  }
  return checked;
}

void graded_integers(Numbers numbers, const std::vector<Rule>& rules, int descending,
                     Found integers) {
  const long rows = static_cast<long>(numbers.shape(0));
  const size_t width = rules.size();
  if (numbers.shape(1) != width || integers.shape(1) != width ||
      static_cast<long>(integers.shape(0)) != rows)
    throw std::invalid_argument("graded_integers needs one rule per column of both arrays");
  const std::vector<GradingRule> checked = checked_rules(rules, descending);
  const GradingProblem problem{numbers.data(), integers.data(), checked};
  nb::gil_scoped_release release;
  parallel_ranges(rows, 512, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(grade_rows, problem, begin, end);
  });
}

using Attribute = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using RoundedAttribute = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using Affine = nb::ndarray<const double, nb::shape<3, 4>, nb::c_contig, nb::device::cpu>;
using Turn = nb::ndarray<const double, nb::shape<4, 4>, nb::c_contig, nb::device::cpu>;

void round_to_grids(const std::vector<Attribute>& values,
                    const std::vector<RoundedAttribute>& rounded, Affine to_file, Affine back,
                    Turn turn, double shift, const std::vector<double>& units,
                    const std::vector<Rule>& rules, int descending) {
  if (values.size() != kGridAttributes || rounded.size() != kGridAttributes ||
      units.size() != kGridAttributes || rules.size() != 10)
    throw std::invalid_argument("round_to_grids needs five attributes and ten rules");
  const std::vector<GradingRule> checked = checked_rules(rules, descending);
  GridProblem problem{{}, {}, to_file.data(), back.data(), turn.data(), shift, {}, checked};
  const long rows = static_cast<long>(values[kOpacities].size());
  for (int i = 0; i < kGridAttributes; ++i) {
    const size_t size = static_cast<size_t>(rows * kGridWidths[i]);
    if (values[i].size() != size || rounded[i].size() != size)
      throw std::invalid_argument("attributes must have one row per Gaussian");
    problem.values[i] = values[i].data();
    problem.rounded[i] = rounded[i].data();
    problem.units[i] = units[i];
  }
  nb::gil_scoped_release release;
  parallel_ranges(rows, 512, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(round_rows, problem, begin, end);
  });
}

}  // namespace

void bind_formats(nb::module_& m) {
  m.def("move_columns", &move_all, "rows"_a, "moves"_a, "swap"_a,
        "Copies columns of 4-byte values; returns whether one is no finite float.");
  m.def("graded_integers", &graded_integers, "numbers"_a, "rules"_a, "descending"_a, "integers"_a,
        "Writes the nearest integers that the rules of their columns allow.");
  m.def("round_to_grids", &round_to_grids, "values"_a, "rounded"_a, "to_file"_a, "back"_a,
        "turn"_a, "shift"_a, "units"_a, "rules"_a, "descending"_a,
        "Writes means, quaternions, log scales, logit opacities and colors on a file's grids.");
}

}  // namespace fieldwright
