// Vectors of floats in the widest form of the instruction set this file is compiled for.
// GCC/Clang vector extensions give the arithmetic; only what they lack is spelled per set.
#pragma once
#include <cstdint>
#include <cstring>
#if ISA_avx512 || ISA_avx2
#include <immintrin.h>
#endif

namespace fieldwright::ISA {

#if ISA_avx512
constexpr int kLanes = 16;
#elif ISA_avx2
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float vf __attribute__((vector_size(kLanes * 4), aligned(4 * kLanes)));
typedef int32_t vi __attribute__((vector_size(kLanes * 4), aligned(4 * kLanes)));

#if ISA_avx512
inline vf splat(float x) { return _mm512_set1_ps(x); }
#elif ISA_avx2
inline vf splat(float x) { return _mm256_set1_ps(x); }
#else
inline vf splat(float x) { return vf{x, x, x, x}; }
#endif
inline vf load(const float* p) {
  vf v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline void store(float* p, vf v) { std::memcpy(p, &v, sizeof(v)); }

#if ISA_avx512
typedef __mmask16 mask;
inline vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
inline vf min(vf a, vf b) { return _mm512_min_ps(a, b); }
inline vf max(vf a, vf b) { return _mm512_max_ps(a, b); }
inline vf sqrt(vf a) { return _mm512_sqrt_ps(a); }
inline vf ceil(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
inline mask ge(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
inline mask gt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline mask le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
// Comparisons of the lanes in m; the others are false.
inline mask ge_where(mask m, vf a, vf b) { return _mm512_mask_cmp_ps_mask(m, a, b, _CMP_GE_OQ); }
inline mask gt_where(mask m, vf a, vf b) { return _mm512_mask_cmp_ps_mask(m, a, b, _CMP_GT_OQ); }
// a * b + c in the lanes of m, c in the others.
inline vf fma_where(mask m, vf a, vf b, vf c) { return _mm512_mask3_fmadd_ps(a, b, c, m); }
// Spelled out: written as operators they would travel through general registers.
inline mask both(mask a, mask b) { return _kand_mask16(a, b); }
inline mask either(mask a, mask b) { return _kor_mask16(a, b); }
inline mask and_not(mask a, mask b) { return _kandn_mask16(b, a); }
inline bool any(mask m) { return !_kortestz_mask16_u8(m, m); }
inline vf zero_unless(mask m, vf a) { return _mm512_maskz_mov_ps(m, a); }
inline vf select(mask m, vf a, vf b) { return _mm512_mask_mov_ps(b, m, a); }
inline float sum(vf a) { return _mm512_reduce_add_ps(a); }
// Reciprocal with a relative error below 2^-14.
inline vf reciprocal_estimate(vf a) { return _mm512_rcp14_ps(a); }
// Reciprocal to float rounding: the estimate and one Newton step.
inline vf reciprocal(vf a) {
  const vf r = reciprocal_estimate(a);
  return _mm512_fmadd_ps(r, _mm512_fnmadd_ps(a, r, splat(1.0f)), r);
}
#else
typedef vi mask;
#if ISA_avx2
inline vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
inline vf min(vf a, vf b) { return _mm256_min_ps(a, b); }
inline vf max(vf a, vf b) { return _mm256_max_ps(a, b); }
inline vf sqrt(vf a) { return _mm256_sqrt_ps(a); }
inline vf ceil(vf a) { return _mm256_ceil_ps(a); }
inline bool any(mask m) { return _mm256_movemask_ps((__m256)m) != 0; }
#else
inline vf fma(vf a, vf b, vf c) { return a * b + c; }
inline vf min(vf a, vf b) { return a < b ? a : b; }
inline vf max(vf a, vf b) { return a > b ? a : b; }
inline vf sqrt(vf a) {
  for (int i = 0; i < kLanes; ++i) a[i] = __builtin_sqrtf(a[i]);
  return a;
}
inline vf ceil(vf a) {
  for (int i = 0; i < kLanes; ++i) a[i] = __builtin_ceilf(a[i]);
  return a;
}
inline bool any(mask m) {
  int all = 0;
  for (int i = 0; i < kLanes; ++i) all |= m[i];
  return all != 0;
}
#endif
inline mask ge(vf a, vf b) { return a >= b; }
inline mask gt(vf a, vf b) { return a > b; }
inline mask le(vf a, vf b) { return a <= b; }
inline mask ge_where(mask m, vf a, vf b) { return (a >= b) & m; }
inline mask gt_where(mask m, vf a, vf b) { return (a > b) & m; }
inline mask both(mask a, mask b) { return a & b; }
inline mask either(mask a, mask b) { return a | b; }
inline mask and_not(mask a, mask b) { return a & ~b; }
inline vf zero_unless(mask m, vf a) { return (vf)((vi)a & m); }
inline vf fma_where(mask m, vf a, vf b, vf c) { return fma(zero_unless(m, a), b, c); }
inline vf select(mask m, vf a, vf b) { return m ? a : b; }
inline float sum(vf a) {
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += a[i];
  return total;
}
inline vf reciprocal_estimate(vf a) { return 1.0f / a; }
inline vf reciprocal(vf a) { return 1.0f / a; }
#endif

// 2^x of n vectors for x in [-126, 126], relative error below 3e-6 (degree-4 minimax polynomial on
// [-0.5, 0.5]): a 1300th of the step of an 8-bit image, and two instructions less than 1e-7.
// Step by step over all vectors, so that their chains of multiply-adds overlap.
template <int n>
inline void exp2(const vf (&x)[n], vf (&out)[n]) {
  vf whole[n], f[n];
  for (int i = 0; i < n; ++i) {
#if ISA_avx512
    whole[i] = _mm512_roundscale_ps(x[i], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    f[i] = x[i] - whole[i];
#else
    whole[i] = x[i] + 12582912.0f;  // 1.5 * 2^23: the rounded value sits in the low bits
    f[i] = x[i] - (whole[i] - 12582912.0f);
#endif
  }
  for (int i = 0; i < n; ++i) out[i] = fma(splat(0.00957010165f), f[i], splat(0.0559178621f));
  for (const float c : {0.240247448f, 0.693121815f, 0.999999261f})
    for (int i = 0; i < n; ++i) out[i] = fma(out[i], f[i], splat(c));
  for (int i = 0; i < n; ++i)
#if ISA_avx512
    out[i] = _mm512_scalef_ps(out[i], whole[i]);
#else
    out[i] = (vf)((vi)out[i] + ((vi)whole[i] << 23));
#endif
}

}  // namespace fieldwright::ISA
