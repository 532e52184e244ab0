// Gradients: first along each ray, from back to front, down to the features of every sample; then
// leaf by leaf, each by one thread and in the order of the rays, so that sums do not depend on the
// number of threads.
#include "trivec_leaf.hpp"

namespace fieldwright::ISA {
namespace {

// dL / d optical_i = T_{i+1} q_i - sum of w_j q_j behind, with q = dL / dw.
void ray_gradients(const TrivecRays& rays, const TrivecRayGradients& given, RangeTape& tape,
                   long ray, int first_segment, int last_segment) {
  const float* for_color = given.colors + 3 * ray;
  const float jitter = rays.jitter[ray];
  const auto benefit = [&](const Segment& segment, const Sample& sample) {
    const float middle =
        segment.start + (static_cast<float>(sample.number) + jitter) * segment.step;
    return given.opacities[ray] + given.distances[ray] * middle + for_color[0] * sample.color[0] +
           for_color[1] * sample.color[1] + for_color[2] * sample.color[2];
  };
  float light = 1, behind = 0;
  for (int s = first_segment; s < last_segment; ++s) {
    const Segment& segment = tape.segments[s];
    for (int i = segment.first; i < segment.first + segment.count; ++i) {
      const Sample& sample = tape.samples[i];
      behind += light * sample.absorbed * benefit(segment, sample);
      light *= 1 - sample.absorbed;
    }
  }
  light = 1;
  for (int s = first_segment; s < last_segment; ++s) {
    const Segment& segment = tape.segments[s];
    for (int i = segment.first; i < segment.first + segment.count; ++i) {
      Sample& sample = tape.samples[i];
      const float gain = benefit(segment, sample), weight = light * sample.absorbed;
      behind -= weight * gain;
      light *= 1 - sample.absorbed;
      sample.absorbed = (light * gain - behind) * sample.slope;
      for (int c = 0; c < 3; ++c)
        sample.color[c] = weight * for_color[c] * sample.color[c] * (1 - sample.color[c]);
    }
  }
}

template <int n>
void segment_gradients(const TrivecModel& model, const TrivecRays& rays, const Segment& segment,
                       const Sample* samples, const TrivecGradients& out) {
  const int R = model.rank, D = model.nodes, K = model.bases;
  const long leaf = segment.leaf;
  const float* x_axis = model.vectors + leaf * 3 * D * R;
  const float *y_axis = x_axis + D * R, *z_axis = y_axis + D * R;
  float* x_out = out.vectors + leaf * 3 * D * R;
  float *y_out = x_out + D * R, *z_out = y_out + D * R;
  const float* bases = rays.bases + static_cast<long>(segment.ray) * K;
  const float jitter = rays.jitter[segment.ray];
  v8 colors[3][n], weights[n], for_colors[3][n] = {}, for_weights[n] = {};
  directed<n>(model, leaf, bases, colors);
  for (int i = 0; i < n; ++i) weights[i] = load8(model.densities + leaf * R + 8 * i);
  for (int s = 0; s < segment.count; ++s) {
    const Sample& sample = samples[s];
    const float at = static_cast<float>(sample.number) + jitter;
    const Cell u(clamped(segment.local[0] + at * segment.slope[0]), D);
    const Cell v(clamped(segment.local[1] + at * segment.slope[1]), D);
    const Cell w(clamped(segment.local[2] + at * segment.slope[2]), D);
    v8 x[n], y[n], z[n], gx[n], gy[n], gz[n];
    lookup<n>(x_axis, R, u, x);
    lookup<n>(y_axis, R, v, y);
    lookup<n>(z_axis, R, w, z);
    for (int i = 0; i < n; ++i) {
      const v8 yz = y[i] * z[i], product = x[i] * yz;
      v8 gradient = set8(sample.absorbed) * weights[i];
      for_weights[i] = fma8(set8(sample.absorbed), product, for_weights[i]);
      for (int c = 0; c < 3; ++c) {
        const v8 g = set8(sample.color[c]);
        gradient = fma8(g, colors[c][i], gradient);
        for_colors[c][i] = fma8(g, product, for_colors[c][i]);
      }
      gx[i] = gradient * yz;
      const v8 gradient_x = gradient * x[i];
      gy[i] = gradient_x * z[i];
      gz[i] = gradient_x * y[i];
    }
    scatter<n>(x_out, R, u, gx);
    scatter<n>(y_out, R, v, gy);
    scatter<n>(z_out, R, w, gz);
  }
  float* color_out = out.colors + leaf * K * 3 * R;
  for (int i = 0; i < n; ++i) add8(out.densities + leaf * R + 8 * i, for_weights[i]);
  for (int k = 0; k < K; ++k)
    for (int c = 0; c < 3; ++c)
      for (int i = 0; i < n; ++i)
        add8(color_out + (3 * k + c) * R + 8 * i, set8(bases[k]) * for_colors[c][i]);
}

}  // namespace

void trivec_ray_gradients(const TrivecRays& rays, const TrivecRayGradients& given,
                          RangeTape& tape) {
  for (size_t ray = 0; ray + 1 < tape.rays.size(); ++ray)
    ray_gradients(rays, given, tape, tape.begin + static_cast<long>(ray), tape.rays[ray],
                  tape.rays[ray + 1]);
}

void trivec_leaf_gradients(const TrivecModel& model, const TrivecRays& rays, const Tape& tape,
                           const LeafLists& lists, const TrivecGradients& out, long begin,
                           long end) {
  const long R = model.rank, vectors = 3 * model.nodes * R, colors = 3 * model.bases * R;
  std::fill(out.vectors + begin * vectors, out.vectors + end * vectors, 0.0f);
  std::fill(out.densities + begin * R, out.densities + end * R, 0.0f);
  std::fill(out.colors + begin * colors, out.colors + end * colors, 0.0f);
  for (long leaf = begin; leaf < end; ++leaf) {
    out.seen[leaf] = lists.offsets[leaf] < lists.offsets[leaf + 1];
    for (int item = lists.offsets[leaf]; item < lists.offsets[leaf + 1]; ++item) {
      const RangeTape& range = tape.ranges[lists.items[item].first];
      const Segment& segment = range.segments[lists.items[item].second];
      by_rank<4>(model.ranks[leaf], [&]<int n>() {
        segment_gradients<n>(model, rays, segment, &range.samples[segment.first], out);
      });
    }
  }
}

}  // namespace fieldwright::ISA
