// Python names of the hash grid's kernels: hash_grid, hash_grid_backward.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "dispatch.hpp"
#include "hash_grid.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

constexpr long kGrain = 256;

using Matrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ConstMatrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
// Resolution, number of entries and whether they are hashed.
using Levels = std::vector<std::tuple<int, uint32_t, bool>>;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

HashGridProblem checked(const ConstMatrix& points, const ConstMatrix& table, const Levels& levels) {
  const int F = static_cast<int>(table.shape(1));
  require(points.shape(1) == 3, "points must be [N, 3]");
  require(F == 1 || F == 2 || F == 4 || F == 8, "an entry must have 1, 2, 4 or 8 features");
  HashGridProblem problem{points.data(), table.data(), static_cast<long>(points.shape(0)), F, {}};
  long offset = 0;
  for (const auto& [resolution, size, hashed] : levels) {
    const long side = long(resolution) + 1;
    require(resolution >= 1 && resolution < (1 << 20) && size < (1u << 31),
            "a level has 1 to 2^20 cells along an axis and less than 2^31 entries");
    require(hashed ? size > 0 && (size & (size - 1)) == 0 : side * side * side == long(size),
            "a level has 2^n hashed entries or one for every vertex");
    problem.levels.push_back({offset, resolution, size, hashed});
    offset += size;
  }
  require(offset == static_cast<long>(table.shape(0)), "the levels must make up the table");
  return problem;
}

void hash_grid(ConstMatrix points, ConstMatrix table, const Levels& levels, Matrix features) {
  const HashGridProblem problem = checked(points, table, levels);
  require(static_cast<long>(features.shape(0)) == problem.N &&
              features.shape(1) == levels.size() * problem.F,
          "features must be [N, L * F]");
  float* out = features.data();
  nb::gil_scoped_release release;
  parallel_ranges(problem.N, kGrain, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(hash_grid_rows, problem, out, begin, end);
  });
}

// Every task owns entries and meets the points in order, so the number of tasks changes no bit.
void table_gradient(const HashGridProblem& problem, const float* v_features, float* v_table) {
  const int L = static_cast<int>(problem.levels.size()), threads = num_threads();
  const int owners = std::min(L, 2 * threads), slices = threads > L ? (threads + L - 1) / L : 1;
  parallel_for(owners * slices, [&](int task) {
    const GridShare share{task % owners, owners, task / owners, slices};
    FIELDWRIGHT_DISPATCH(hash_grid_table_gradient, problem, v_features, v_table, share);
  });
}

void hash_grid_backward(ConstMatrix points, ConstMatrix table, const Levels& levels,
                        ConstMatrix v_features, std::optional<Matrix> v_table,
                        std::optional<Matrix> v_points) {
  const HashGridProblem problem = checked(points, table, levels);
  require(static_cast<long>(v_features.shape(0)) == problem.N &&
              v_features.shape(1) == levels.size() * problem.F,
          "v_features must be [N, L * F]");
  require(!v_table || v_table->size() == table.size(), "v_table must be as large as table");
  require(!v_points || v_points->size() == points.size(), "v_points must be as large as points");
  const float* v = v_features.data();
  float *to_table = v_table ? v_table->data() : nullptr,
        *to_points = v_points ? v_points->data() : nullptr;
  nb::gil_scoped_release release;
  if (to_table && !levels.empty()) table_gradient(problem, v, to_table);
  if (!to_points) return;
  parallel_ranges(problem.N, kGrain, [&](long begin, long end, int) {
    FIELDWRIGHT_DISPATCH(hash_grid_point_gradient, problem, v, to_points, begin, end);
  });
}

}  // namespace

void bind_hash_grid(nb::module_& m) {
  m.def("hash_grid", &hash_grid, "points"_a, "table"_a, "levels"_a, "features"_a,
        "Writes the interpolated features of the points.");
  m.def("hash_grid_backward", &hash_grid_backward, "points"_a, "table"_a, "levels"_a,
        "v_features"_a, "v_table"_a.none(), "v_points"_a.none(),
        "Adds to the gradient of the table and writes that of the points.");
}

}  // namespace fieldwright
