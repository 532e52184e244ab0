// Blending front to back; the equations are in fields/volume.py.
#include "composite.hpp"

#include <vector>

#include "v8.hpp"

namespace fieldwright::ISA {
namespace {

// Per sample what is absorbed of arriving light, eight at a time; the rest of the last eight is 0.
void absorb(const PackedSamples& s, long first, long count, std::vector<float>& out) {
  out.resize(count + 8);
  long i = 0;
  for (; i + 8 <= count; i += 8) {
    const v8 length = load8(s.ends + first + i) - load8(s.starts + first + i);
    store8(&out[i], absorbed8(load8(s.densities + first + i) * length));
  }
  if (i == count) return;
  float optical[8] = {};
  for (long j = i; j < count; ++j)
    optical[j - i] = s.densities[first + j] * (s.ends[first + j] - s.starts[first + j]);
  store8(&out[i], absorbed8(load8(optical)));
}

}  // namespace

void composite_rays(const PackedSamples& s, const RayValues& out, long begin, long end) {
  std::vector<float> absorbed;
  for (long ray = begin; ray < end; ++ray) {
    const long first = s.offsets[ray], count = s.offsets[ray + 1] - first;
    absorb(s, first, count, absorbed);
    float light = 1, color[3] = {}, opacity = 0, distance = 0, median = 0, distortion = 0;
    for (long i = 0; i < count && light >= s.early_stop; ++i) {
      const float weight = light * absorbed[i];
      const float start = s.starts[first + i], finish = s.ends[first + i];
      const float middle = 0.5f * (start + finish);
      for (int c = 0; c < 3; ++c) color[c] += weight * s.colors[3 * (first + i) + c];
      distortion += 2 * weight * (middle * opacity - distance) +
                    weight * weight * (finish - start) / 3;
      if (opacity < 0.5f && opacity + weight >= 0.5f) median = middle;
      opacity += weight;
      distance += weight * middle;
      light *= 1 - absorbed[i];
    }
    for (int c = 0; c < 3; ++c) out.colors[3 * ray + c] = color[c];
    out.opacities[ray] = opacity, out.distances[ray] = distance;
    out.medians[ray] = median, out.distortions[ray] = distortion;
  }
}

// With q_i = dL / dw_i: dL / d(σ_i δ_i) = T_{i+1} q_i - Σ_{j>i} w_j q_j, as w_j for j > i shrink
// with what sample i absorbs.
void composite_gradients(const PackedSamples& s, const RayGradients& given, float* densities,
                         float* colors, long begin, long end) {
  std::vector<float> absorbed, weights, benefits;
  for (long ray = begin; ray < end; ++ray) {
    const long first = s.offsets[ray], count = s.offsets[ray + 1] - first;
    absorb(s, first, count, absorbed);
    weights.assign(count, 0), benefits.assign(count, 0);
    float light = 1, opacity = 0, distance = 0;
    long used = 0;
    for (; used < count && light >= s.early_stop; ++used) {
      weights[used] = light * absorbed[used];
      opacity += weights[used];
      distance += weights[used] * 0.5f * (s.starts[first + used] + s.ends[first + used]);
      light *= 1 - absorbed[used];
    }
    const float* color_gradient = given.colors + 3 * ray;
    const float distortion = given.distortions[ray];
    float before = 0, moment = 0, after = 0;
    for (long i = 0; i < used; ++i) {
      const long at = first + i;
      const float weight = weights[i], start = s.starts[at], finish = s.ends[at];
      const float middle = 0.5f * (start + finish);
      float benefit = given.opacities[ray] + given.distances[ray] * middle;
      for (int c = 0; c < 3; ++c) benefit += color_gradient[c] * s.colors[3 * at + c];
      if (distortion != 0) {  // d/dw_i of the double sum: twice all |t_i - t_j| w_j
        const float behind = opacity - before - weight;
        const float moment_behind = distance - moment - weight * middle;
        benefit += 2 * distortion *
                   (middle * before - moment + moment_behind - middle * behind +
                    weight * (finish - start) / 3);
      }
      before += weight, moment += weight * middle;
      benefits[i] = benefit;
      after += weight * benefit;
    }
    light = 1;
    for (long i = 0; i < count; ++i) {
      const long at = first + i;
      if (i >= used) {
        densities[at] = colors[3 * at] = colors[3 * at + 1] = colors[3 * at + 2] = 0;
        continue;
      }
      after -= weights[i] * benefits[i];
      light *= 1 - absorbed[i];
      densities[at] = (light * benefits[i] - after) * (s.ends[at] - s.starts[at]);
      for (int c = 0; c < 3; ++c) colors[3 * at + c] = weights[i] * color_gradient[c];
    }
  }
}

}  // namespace fieldwright::ISA
