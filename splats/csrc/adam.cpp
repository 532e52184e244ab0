// Adam reads and writes each of p, g, m, v once: memory traffic is its limit.
#include "adam.hpp"

#include <cmath>

#include "simd.hpp"

namespace fieldwright::ISA {
namespace {

// The first `count` < kLanes floats at p, zeros after them, and back.
inline vf load_tail(const float* p, long count) {
#if ISA_avx512
  return _mm512_maskz_loadu_ps(static_cast<mask>((1u << count) - 1), p);
#else
  vf v = {};
  for (long i = 0; i < count; ++i) v[i] = p[i];
  return v;
#endif
}

inline void store_tail(float* p, vf v, long count) {
#if ISA_avx512
  _mm512_mask_storeu_ps(p, static_cast<mask>((1u << count) - 1), v);
#else
  for (long i = 0; i < count; ++i) p[i] = v[i];
#endif
}

struct Update {
  vf rest1, beta2, rest2, epsilon, correction, step_size;

  Update(const AdamGroup& group, const AdamSettings& settings)
      : rest1(splat(settings.rest1)),
        beta2(splat(settings.beta2)),
        rest2(splat(settings.rest2)),
        epsilon(splat(settings.epsilon)),
        correction(splat(group.correction)),
        step_size(splat(-group.step_size)) {}

  void operator()(vf& p, vf g, vf& m, vf& v) const {
    m = fma(rest1, g - m, m);
    v = fma(rest2 * g, g, beta2 * v);
    p = fma(step_size, m / fma(sqrt(v), correction, epsilon), p);
  }
};

// Updates the contiguous floats [begin, end) of a group.
void update_range(const AdamGroup& group, const Update& update, long begin, long end) {
  float *ps = group.parameter, *ms = group.first_moment, *vs = group.second_moment;
  const float* gs = group.gradient;
  long i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    vf p = load(ps + i), m = load(ms + i), v = load(vs + i);
    update(p, load(gs + i), m, v);
    store(ps + i, p);
    store(ms + i, m);
    store(vs + i, v);
  }
  if (i == end) return;
  const long rest = end - i;
  vf p = load_tail(ps + i, rest), m = load_tail(ms + i, rest), v = load_tail(vs + i, rest);
  update(p, load_tail(gs + i, rest), m, v);
  store_tail(ps + i, p, rest);
  store_tail(ms + i, m, rest);
  store_tail(vs + i, v, rest);
}

}  // namespace

// Rows [begin, end); only runs of rows with visible[row] != 0 are touched (all when null).
void adam_rows(const AdamGroup& group, const AdamSettings& settings, const uint8_t* visible,
               long begin, long end) {
  const Update update(group, settings);
  if (!visible) {
    update_range(group, update, begin * group.width, end * group.width);
    return;
  }
  for (long row = begin; row < end;) {
    if (!visible[row]) {
      ++row;
      continue;
    }
    long last = row + 1;
    while (last < end && visible[last]) ++last;
    update_range(group, update, row * group.width, last * group.width);
    row = last;
  }
}

// mean += scale * gate * R diag(s^2) R^T n with gate = sigmoid(-k (opacity - threshold)).
void noise_rows(const NoiseProblem& problem, long begin, long end) {
  for (long row = begin; row < end; ++row) {
    const float opacity = 1.0f / (1.0f + std::exp(-problem.logit_opacities[row]));
    const float exponent = problem.steepness * (opacity - problem.threshold);
    if (exponent > 20.0f) continue;  // gate below 2e-9: lost in the rounding of the mean
    const float amount = problem.scale / (1.0f + std::exp(exponent));
    const float* q = problem.quats + 4 * row;
    const float norm = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3];
    const float t = norm > 0 ? 2.0f / norm : 0.0f;
    const float w = q[0], x = q[1], y = q[2], z = q[3];
    const float rotation[3][3] = {
        {1 - t * (y * y + z * z), t * (x * y - w * z), t * (x * z + w * y)},
        {t * (x * y + w * z), 1 - t * (x * x + z * z), t * (y * z - w * x)},
        {t * (x * z - w * y), t * (y * z + w * x), 1 - t * (x * x + y * y)}};
    const float* n = problem.normals + 3 * row;
    float* mean = problem.means + 3 * row;
    for (int axis = 0; axis < 3; ++axis) {
      const float along =
          rotation[0][axis] * n[0] + rotation[1][axis] * n[1] + rotation[2][axis] * n[2];
      const float length = amount * along * std::exp(2 * problem.log_scales[3 * row + axis]);
      for (int i = 0; i < 3; ++i) mean[i] += length * rotation[i][axis];
    }
  }
}

}  // namespace fieldwright::ISA
