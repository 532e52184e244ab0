// Context coding of small integers in rows: quantized transform coefficients.
#pragma once
#include <cstdint>
#include <vector>

namespace fieldwright {

constexpr int kNeighbors = 8;
constexpr int kMaxDims = 1024;
constexpr int kMaxMagnitude = 1 << 20;

// Rows of one segment, coded one after another, and where each finds its neighbors.
struct CoefficientRows {
  long rows;
  int dims;                  // at most kMaxDims
  const int32_t* neighbors;  // [rows, kNeighbors] earlier rows of the segment, then -1; null: the
                             // rows just before
};

// How the encoder rounds: each coefficient to the integer of least |x - value|^2 + trade * bits.
struct Rounding {
  const float* scaled;     // [rows, dims] coefficients in steps
  const float* centroids;  // [dims, 3] values that stand for 1, 2 and 3.. (added to m - 3)
  double trade;
};

// Lookup tables, made by the Python side from exact integers so that no libm decides a bit; narrow,
// to leave the first cache to the contexts.
struct CoefficientTables {
  const int16_t* logits;         // [4096] of a probability's top 12 bits, 8 fractional bits
  const uint16_t* probabilities;  // [4096] of logit + 2048, 16 bits, in [32, 65504]
  const int32_t* costs;          // [4096] bits / 2^12 of an event of this probability's top 12 bits
  const int32_t* rates;          // [1024] 2^16 / (count + 1.5)
  int count_limit;               // a probability never adapts slower than rates[count_limit]
};

#define FIELDWRIGHT_DECLARE(isa)                                                              \
  namespace isa {                                                                             \
  void encode_coefficients(const CoefficientRows& rows, const CoefficientTables& tables,      \
                           const Rounding* rounding, int32_t* values,                         \
                           std::vector<uint32_t>& words);                                     \
  void decode_coefficients(const CoefficientRows& rows, const CoefficientTables& tables,      \
                           const uint8_t* data, long size, int32_t* values, bool& valid);     \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
