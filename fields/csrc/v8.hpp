// Eight floats on every instruction set: ranks of tensors come in eights, so that the width of a
// machine's registers does not decide how a field is laid out.
#pragma once
#include <cstdint>
#include <cstring>
#if ISA_avx512 || ISA_avx2
#include <immintrin.h>
#endif

namespace fieldwright::ISA {

typedef float v8 __attribute__((vector_size(32)));
typedef int32_t i8 __attribute__((vector_size(32)));

inline v8 set8(float x) { return v8{x, x, x, x, x, x, x, x}; }

#if ISA_avx512 || ISA_avx2
// Spelled out: of a memcpy the compiler makes two halves that meet again on the stack.
inline v8 load8(const float* p) { return (v8)_mm256_loadu_ps(p); }
inline void store8(float* p, v8 v) { _mm256_storeu_ps(p, (__m256)v); }
inline v8 fma8(v8 a, v8 b, v8 c) { return (v8)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
inline v8 min8(v8 a, v8 b) { return (v8)_mm256_min_ps((__m256)a, (__m256)b); }
inline v8 max8(v8 a, v8 b) { return (v8)_mm256_max_ps((__m256)a, (__m256)b); }
// The sums of four vectors.
inline void sums4(v8 a, v8 b, v8 c, v8 d, float out[4]) {
  const __m256 ab = _mm256_hadd_ps((__m256)a, (__m256)b), cd = _mm256_hadd_ps((__m256)c, (__m256)d);
  const __m256 all = _mm256_hadd_ps(ab, cd);
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}
inline float sum8(v8 a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128((__m256)a), _mm256_extractf128_ps((__m256)a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
#else
inline v8 load8(const float* p) {
  v8 v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline void store8(float* p, v8 v) { std::memcpy(p, &v, sizeof(v)); }
inline v8 fma8(v8 a, v8 b, v8 c) { return a * b + c; }
inline v8 min8(v8 a, v8 b) { return a < b ? a : b; }
inline v8 max8(v8 a, v8 b) { return a > b ? a : b; }
inline float sum8(v8 a) {
  return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}
inline void sums4(v8 a, v8 b, v8 c, v8 d, float out[4]) {
  out[0] = sum8(a), out[1] = sum8(b), out[2] = sum8(c), out[3] = sum8(d);
}
#endif

// e^x for |x| <= 80, relative error below 3e-7 (degree-6 minimax polynomial of 2^f).
inline v8 exp8(v8 x) {
  x = min8(max8(x, set8(-80.0f)), set8(80.0f)) * set8(1.44269504f);
  const v8 shifted = x + set8(12582912.0f);  // 1.5 * 2^23: the rounded value sits in the low bits
  const v8 f = x - (shifted - set8(12582912.0f));
  v8 p = set8(1.5353362e-4f);
  for (const float c : {1.3398874e-3f, 9.6184373e-3f, 5.5503324e-2f, 2.4022648e-1f, 6.9314720e-1f,
                        1.0f})
    p = fma8(p, f, set8(c));
  return (v8)((i8)p + ((i8)shifted << 23));
}

// Natural logarithm of 1 + e for e in [0, e^80], relative error below 1e-6.
inline v8 log1p8(v8 e) {
  const v8 x = e + set8(1.0f);
  const i8 bits = (i8)x;
  // Mantissa in [sqrt(1/2), sqrt(2)).
  const i8 exponent = (bits - 0x3f3504f3) >> 23;
  const v8 m = (v8)(bits - (exponent << 23));
  const v8 z = (m - set8(1.0f)) / (m + set8(1.0f)), z2 = z * z;
  v8 p = set8(0.2371599f);
  for (const float c : {0.28527888f, 0.40000517f, 0.66666666f, 2.0f}) p = fma8(p, z2, set8(c));
  const v8 whole = __builtin_convertvector(exponent, v8);
  const v8 large = fma8(whole, set8(0.69314718f), p * z);
  const v8 small = e * fma8(e, fma8(e, set8(0.33333333f), set8(-0.5f)), set8(1.0f));
  return e < set8(0.01f) ? small : large;
}

// 1 - e^-x for x >= 0 without cancellation.
inline v8 absorbed8(v8 x) {
  const v8 small = x * fma8(x, fma8(x, set8(0.16666667f), set8(-0.5f)), set8(1.0f));
  return x < set8(0.01f) ? small : set8(1.0f) - exp8(-x);
}

}  // namespace fieldwright::ISA
