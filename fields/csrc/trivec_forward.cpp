// Rays through an octree of tri-vector leaves, front to back: the order of leaves along a ray is
// that of the octree, so it is exact.
#include <cmath>

#include "trivec_leaf.hpp"

namespace fieldwright::ISA {
namespace {

constexpr int kMaxDepth = 20;
constexpr int kBatch = 64;  // samples of a segment that are evaluated together

struct Place {
  int32_t leaf;       // -1 for nothing
  float low[3], side;
};

// The leaf or empty node that holds a point of the root's box.
Place descend(const OctreeView& tree, const float (&point)[3]) {
  Place place;
  float low[3] = {tree.low[0], tree.low[1], tree.low[2]}, side = tree.side;
  int32_t node = 0;
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    side *= 0.5f;
    int child = 0;
    for (int axis = 0; axis < 3; ++axis) {
      const bool upper = point[axis] >= low[axis] + side;
      if (upper) low[axis] += side;
      child = 2 * child + upper;
    }
    const int32_t next = tree.children[8 * node + child];
    if (next < 0) {
      place.leaf = -2 - next;
      break;
    }
    node = next;
  }
  for (int axis = 0; axis < 3; ++axis) place.low[axis] = low[axis];
  place.side = side;
  return place;
}

struct Ray {
  const float *origin, *direction;
  float inverse[3];

  Ray(const float* o, const float* d) : origin(o), direction(d) {
    for (int axis = 0; axis < 3; ++axis)
      inverse[axis] = 1.0f / (std::fabs(d[axis]) < 1e-20f ? 1e-20f : d[axis]);
  }
  void span(const float* low, float side, float& enter, float& leave) const {
    enter = 0, leave = 1e30f;
    for (int axis = 0; axis < 3; ++axis) {
      const float a = (low[axis] - origin[axis]) * inverse[axis];
      const float b = (low[axis] + side - origin[axis]) * inverse[axis];
      enter = std::max(enter, std::min(a, b)), leave = std::min(leave, std::max(a, b));
    }
  }
};

struct Light {
  float left = 1, color[3] = {}, opacity = 0, distance = 0, median = 0;

  void meet(float absorbed, const float (&seen)[3], float middle) {
    const float weight = left * absorbed;
    for (int c = 0; c < 3; ++c) color[c] += weight * seen[c];
    if (opacity < 0.5f && opacity + weight >= 0.5f) median = middle;
    opacity += weight, distance += weight * middle;
    left *= 1 - absorbed;
  }
};

// Features of up to kBatch samples: density, then colours, before their activations.
struct Batch {
  float features[4][kBatch + 8];
  int numbers[kBatch];
  int size = 0;
};

template <int n>
void evaluate(const TrivecModel& model, const Segment& segment, const v8 (&colors)[3][n],
              float jitter, int& number, int count, Batch& batch) {
  const int R = model.rank, D = model.nodes;
  const float* x_axis = model.vectors + static_cast<long>(segment.leaf) * 3 * D * R;
  const float *y_axis = x_axis + D * R, *z_axis = y_axis + D * R;
  const float* density = model.densities + static_cast<long>(segment.leaf) * R;
  v8 weights[n];
  for (int i = 0; i < n; ++i) weights[i] = load8(density + 8 * i);
  const uint64_t mask = model.masks[segment.leaf];
  batch.size = 0;
  for (; number < count && batch.size < kBatch; ++number) {
    const float at = static_cast<float>(number) + jitter;
    const float u = clamped(segment.local[0] + at * segment.slope[0]);
    const float v = clamped(segment.local[1] + at * segment.slope[1]);
    const float w = clamped(segment.local[2] + at * segment.slope[2]);
    if (!occupied(mask, u, v, w)) continue;
    v8 x[n], y[n], z[n];
    lookup<n>(x_axis, R, Cell(u, D), x);
    lookup<n>(y_axis, R, Cell(v, D), y);
    lookup<n>(z_axis, R, Cell(w, D), z);
    v8 sums[4] = {};
    for (int i = 0; i < n; ++i) {
      const v8 product = x[i] * y[i] * z[i];
      sums[0] = fma8(product, weights[i], sums[0]);
      for (int c = 0; c < 3; ++c) sums[c + 1] = fma8(product, colors[c][i], sums[c + 1]);
    }
    float totals[4];
    sums4(sums[0], sums[1], sums[2], sums[3], totals);
    for (int c = 0; c < 4; ++c) batch.features[c][batch.size] = totals[c];
    batch.numbers[batch.size++] = number;
  }
}

// Blends the samples of one segment; returns false once the light is used up.
template <int n>
bool march(const TrivecModel& model, const TrivecRays& rays, const Segment& segment, int count,
           Light& light, RangeTape* tape, Batch& batch) {
  const float jitter = rays.jitter[segment.ray];
  v8 colors[3][n];
  directed<n>(model, segment.leaf, rays.bases + static_cast<long>(segment.ray) * model.bases,
              colors);
  const float length = segment.step * model.inverse_unit;
  float absorbed[kBatch + 8], slopes[kBatch + 8];
  for (int number = 0; number < count;) {
    evaluate<n>(model, segment, colors, jitter, number, count, batch);
    for (int i = 0; i < batch.size; i += 8) {
      const v8 growth = exp8(load8(batch.features[0] + i) + set8(model.shift));
      store8(absorbed + i, absorbed8(log1p8(growth) * set8(length)));
      store8(slopes + i, set8(length) * growth / (set8(1.0f) + growth));
      for (int c = 1; c < 4; ++c) {
        float* color = batch.features[c] + i;
        store8(color, set8(1.0f) / (set8(1.0f) + exp8(-load8(color))));
      }
    }
    for (int i = 0; i < batch.size; ++i) {
      const float seen[3] = {batch.features[1][i], batch.features[2][i], batch.features[3][i]};
      const float middle =
          segment.start + (static_cast<float>(batch.numbers[i]) + jitter) * segment.step;
      light.meet(absorbed[i], seen, middle);
      if (tape)
        tape->samples.push_back(
            {batch.numbers[i], absorbed[i], slopes[i], {seen[0], seen[1], seen[2]}});
      if (light.left < rays.early_stop) return false;
    }
  }
  return true;
}

void trace(const TrivecModel& model, const OctreeView& tree, const TrivecRays& rays, long index,
           Light& light, RangeTape* tape, Batch& batch) {
  const Ray ray(rays.origins + 3 * index, rays.directions + 3 * index);
  float enter, leave;
  ray.span(tree.low, tree.side, enter, leave);
  const float nudge = 1e-6f * tree.side;
  bool going = true;
  for (float t = enter; going && t + nudge < leave;) {
    float point[3];
    for (int axis = 0; axis < 3; ++axis)
      point[axis] = ray.origin[axis] + (t + nudge) * ray.direction[axis];
    const Place place = descend(tree, point);
    float begin, end;
    ray.span(place.low, place.side, begin, end);
    end = std::max(std::min(end, leave), t + nudge);
    if (place.leaf >= 0 && model.masks[place.leaf]) {
      const int count =
          std::max(1, static_cast<int>(std::ceil((end - t) / (rays.step * place.side))));
      Segment segment{place.leaf, static_cast<int32_t>(index), 0, 0, t,
                      (end - t) / static_cast<float>(count), {}, {}};
      for (int axis = 0; axis < 3; ++axis) {
        segment.local[axis] =
            (ray.origin[axis] + t * ray.direction[axis] - place.low[axis]) / place.side;
        segment.slope[axis] = segment.step * ray.direction[axis] / place.side;
      }
      if (tape) segment.first = static_cast<int32_t>(tape->samples.size());
      by_rank<4>(model.ranks[place.leaf], [&]<int n>() {
        going = march<n>(model, rays, segment, count, light, tape, batch);
      });
      if (tape) {
        segment.count = static_cast<int32_t>(tape->samples.size()) - segment.first;
        if (segment.count) tape->segments.push_back(segment);
      }
    }
    t = end;
  }
}

}  // namespace

void trivec_rays(const TrivecModel& model, const OctreeView& tree, const TrivecRays& rays,
                 const TrivecOutput& out, RangeTape* tape, long begin, long end) {
  Batch batch;
  if (tape) tape->begin = begin;
  for (long ray = begin; ray < end; ++ray) {
    if (tape) tape->rays.push_back(static_cast<int32_t>(tape->segments.size()));
    Light light;
    trace(model, tree, rays, ray, light, tape, batch);
    for (int c = 0; c < 3; ++c) out.colors[3 * ray + c] = light.color[c];
    out.opacities[ray] = light.opacity;
    out.distances[ray] = light.distance;
    out.medians[ray] = light.median;
  }
  if (tape) tape->rays.push_back(static_cast<int32_t>(tape->segments.size()));
}

}  // namespace fieldwright::ISA
