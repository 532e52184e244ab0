// Moves kLanes consecutive rows of an array of structures into one vector per column and back.
#pragma once
#include "simd.hpp"

namespace fieldwright::ISA {

// Lanes past `count` repeat the first row, so that they never divide by zero.
template <int S>
inline void load_rows(const float* rows, int count, vf (&columns)[S]) {
  alignas(64) float buffer[S][kLanes];
  for (int i = 0; i < kLanes; ++i) {
    const float* row = rows + (i < count ? i : 0) * S;
    for (int j = 0; j < S; ++j) buffer[j][i] = row[j];
  }
  for (int j = 0; j < S; ++j) columns[j] = load(buffer[j]);
}

template <int S>
inline void store_rows(float* rows, int count, const vf (&columns)[S]) {
  alignas(64) float buffer[S][kLanes];
  for (int j = 0; j < S; ++j) store(buffer[j], columns[j]);
  for (int i = 0; i < count; ++i)
    for (int j = 0; j < S; ++j) rows[i * S + j] = buffer[j][i];
}

template <int S>
inline void add_rows(float* rows, int count, const vf (&columns)[S]) {
  alignas(64) float buffer[S][kLanes];
  for (int j = 0; j < S; ++j) store(buffer[j], columns[j]);
  for (int i = 0; i < count; ++i)
    for (int j = 0; j < S; ++j) rows[i * S + j] += buffer[j][i];
}

inline vf load_some(const float* p, int count, float fill) {
  alignas(64) float buffer[kLanes];
  for (int i = 0; i < kLanes; ++i) buffer[i] = i < count ? p[i] : fill;
  return load(buffer);
}

inline void store_some(float* p, int count, vf v) {
  alignas(64) float buffer[kLanes];
  store(buffer, v);
  std::memcpy(p, buffer, sizeof(float) * count);
}

// log2(x) for normal x > 0, relative error below 1e-7 away from 1: exponent plus atanh series.
inline vf log2(vf x) {
  vi bits = (vi)x;
  vi exponent = (bits - 0x3f3504f3) >> 23;  // so that the mantissa lies in [sqrt(1/2), sqrt(2))
  const vf m = (vf)(bits - (exponent << 23));
  const vf s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  vf p = splat(1.0f / 9);
  p = fma(p, s2, splat(1.0f / 7));
  p = fma(p, s2, splat(1.0f / 5));
  p = fma(p, s2, splat(1.0f / 3));
  p = fma(p, s2, splat(1.0f));
  return __builtin_convertvector(exponent, vf) + s * p * 2.8853900817779268f;
}

}  // namespace fieldwright::ISA
