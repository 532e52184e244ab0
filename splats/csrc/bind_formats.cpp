// Python names of the kernels of splats.formats: move_columns.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "columns.hpp"
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

}  // namespace

void bind_formats(nb::module_& m) {
  m.def("move_columns", &move_all, "rows"_a, "moves"_a, "swap"_a,
        "Copies columns of 4-byte values; returns whether one is no finite float.");
}

}  // namespace fieldwright
