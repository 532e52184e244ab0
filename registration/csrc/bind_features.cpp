// Python names of local shape, matching and consensus.
#include <algorithm>

#include "arrays.hpp"
#include "consensus.hpp"
#include "dispatch.hpp"
#include "matching.hpp"
#include "shape.hpp"
#include "thread_pool.hpp"

namespace fieldwright {
namespace {

using namespace nb::literals;

constexpr long kGrain = 64;

Neighborhoods lists_of(Points points, Longs offsets, Ints indices, Floats squared) {
  require(offsets.size() == points.shape(0) + 1 && indices.size() == squared.size(),
          "offsets must be [n + 1], indices and squared of one length");
  return {points.data(), offsets.data(), indices.data(), squared.data()};
}

nb::object normals_of(Points points, Longs offsets, Ints indices, Floats squared, float radius) {
  const Neighborhoods lists = lists_of(points, offsets, indices, squared);
  const size_t n = points.shape(0);
  std::vector<float> normals(3 * n);
  {
    nb::gil_scoped_release release;
    parallel_ranges(static_cast<long>(n), kGrain, [&](long begin, long end, int) {
      FIELDWRIGHT_DISPATCH(local_normals, lists, begin, end, radius * radius, normals.data());
    });
  }
  return to_numpy(std::move(normals), {n, 3});
}

nb::object histograms(Points points, Points normals, Longs offsets, Ints indices, Floats squared) {
  const Neighborhoods lists = lists_of(points, offsets, indices, squared);
  const size_t n = points.shape(0);
  require(normals.shape(0) == n, "normals must be [n, 3]");
  std::vector<float> simple(n * kHistogram), pooled(n * kHistogram);
  {
    nb::gil_scoped_release release;
    parallel_ranges(static_cast<long>(n), kGrain, [&](long begin, long end, int) {
      FIELDWRIGHT_DISPATCH(simple_histograms, lists, normals.data(), begin, end, simple.data());
    });
    parallel_ranges(static_cast<long>(n), kGrain, [&](long begin, long end, int) {
      FIELDWRIGHT_DISPATCH(pooled_histograms, lists, simple.data(), begin, end, pooled.data());
    });
  }
  return to_numpy(std::move(pooled), {n, kHistogram});
}

nb::tuple match(Floats table, Floats queries) {
  require(table.ndim() == 2 && queries.ndim() == 2 && table.shape(1) == queries.shape(1) &&
              table.shape(0) > 0,
          "table and queries must be [n, d] and [m, d], the table not empty");
  const long rows = table.shape(0), dims = table.shape(1), tiles = (rows + 15) / 16;
  const size_t n = queries.shape(0);
  std::vector<int32_t> best(n);
  std::vector<float> scores(2 * n);
  {
    nb::gil_scoped_release release;
    std::vector<float> values(tiles * dims * 16, 0.0f), norms(tiles * 16, 1e37f);
    for (long i = 0; i < rows; ++i) {
      float norm = 0;
      for (long d = 0; d < dims; ++d) {
        const float value = table.data()[i * dims + d];
        values[(i / 16 * dims + d) * 16 + i % 16] = value;
        norm += value * value;
      }
      norms[i] = norm / 2;
    }
    const Table tiled{rows, static_cast<int>(dims), values.data(), norms.data()};
    parallel_ranges(static_cast<long>(n), kGrain, [&](long begin, long end, int) {
      FIELDWRIGHT_DISPATCH(match_rows, tiled, queries.data(), begin, end, best.data(),
                           scores.data());
    });
    for (size_t i = 0; i < n; ++i) {
      float norm = 0;
      for (long d = 0; d < dims; ++d) {
        const float value = queries.data()[i * dims + d];
        norm += value * value;
      }
      for (int k = 0; k < 2; ++k) {
        const float squared = 2 * scores[2 * i + k] + norm;
        scores[2 * i + k] = squared > 0 ? squared : 0;
      }
    }
  }
  return nb::make_tuple(to_numpy(std::move(best), {n}), to_numpy(std::move(scores), {n, 2}));
}

// Poses of the best seeds: [k, 13] of rotation, translation, inliers, and the seeds.
nb::tuple consensus(Points source, Points target, float bound, float min_length, int seeds,
                    int members) {
  const long n = source.shape(0);
  require(static_cast<long>(target.shape(0)) == n, "source and target must be [n, 3]");
  std::vector<double> poses;
  std::vector<int32_t> chosen;
  {
    nb::gil_scoped_release release;
    const long words = (n + 63) / 64, padded = 64 * words;
    std::vector<float> s(3 * padded, 0.0f), t(3 * padded, 0.0f);
    for (long i = 0; i < n; ++i)
      for (int a = 0; a < 3; ++a) {
        s[a * padded + i] = source.data()[3 * i + a];
        t[a * padded + i] = target.data()[3 * i + a];
      }
    std::vector<uint64_t> graph(n * words);
    const Correspondences set{n,      words,        s.data(), t.data(),
                              padded, graph.data(), bound,    min_length};
    std::vector<int32_t> degrees(n);
    std::vector<int64_t> scores(n);
    parallel_ranges(n, 16, [&](long begin, long end, int) {
      FIELDWRIGHT_DISPATCH(link_compatible, set, begin, end, degrees.data());
    });
    parallel_ranges(n, 16, [&](long begin, long end, int) {
      FIELDWRIGHT_DISPATCH(second_order, set, begin, end, scores.data());
    });
    chosen.resize(n);
    for (long i = 0; i < n; ++i) chosen[i] = static_cast<int32_t>(i);
    std::stable_sort(chosen.begin(), chosen.end(),
                     [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
    // Seeds spread over the source: none within min_length of a better one.
    std::vector<int32_t> spread;
    for (const int32_t i : chosen) {
      if (static_cast<int>(spread.size()) == seeds || scores[i] == 0) break;
      bool apart = true;
      for (const int32_t j : spread) {
        float squared = 0, moved = 0;
        for (int a = 0; a < 3; ++a) {
          const float ds = s[a * padded + i] - s[a * padded + j];
          const float dt = t[a * padded + i] - t[a * padded + j];
          squared += ds * ds;
          moved += dt * dt;
        }
        if (squared < min_length * min_length && moved < min_length * min_length) apart = false;
        if (!apart) break;
      }
      if (apart) spread.push_back(i);
    }
    chosen = spread;
    std::vector<Pose> found(chosen.size());
    parallel_for(static_cast<int>(chosen.size()), [&](int k) {
      FIELDWRIGHT_DISPATCH(pose_from_seed, set, chosen[k], members, found[k]);
    });
    for (const Pose& pose : found) {
      poses.insert(poses.end(), pose.r, pose.r + 9);
      poses.insert(poses.end(), pose.t, pose.t + 3);
      poses.push_back(pose.inliers);
    }
  }
  const size_t k = chosen.size();
  return nb::make_tuple(to_numpy(std::move(poses), {k, 13}), to_numpy(std::move(chosen), {k}));
}

}  // namespace

void bind_features(nb::module_& m) {
  m.def("normals", &normals_of, "points"_a, "offsets"_a, "indices"_a, "squared"_a, "radius"_a,
        "Unit normals [n, 3] of the points within `radius`, away from the neighborhood's mass.");
  m.def("histograms", &histograms, "points"_a, "normals"_a, "offsets"_a, "indices"_a, "squared"_a,
        "Fast point-feature histograms [n, 33], square roots of shares.");
  m.def("match", &match, "table"_a, "queries"_a,
        "(index of the nearest row of `table`, squared distances of the two nearest).");
  m.def("consensus", &consensus, "source"_a, "target"_a, "bound"_a, "min_length"_a, "seeds"_a,
        "members"_a, "Poses [k, 13] on which correspondences agree, and their seeds.");
}

}  // namespace fieldwright
