// Lossless coding of one integer column of a set of points whose positions are known.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fieldwright {

// What encoder and decoder both know before the column.
struct ColumnContext {
  long count;
  const int32_t* neighbors;              // [count, kNear] from earlier_neighbors
  std::vector<const uint32_t*> parents;  // columns coded before, each [count], below 2^24
  const int16_t* weights;                // [column_features()], a linear prediction in 2^-12
  int bits;                              // values lie in [0, 2^bits), bits in [1, 24]
  // Value i is a multiple of 2^k, k = clamp((coarseness[i] + own * upper) >> 16, 0, most), where
  // upper is the value without its `most` lower bits; null where k is 0.
  const int64_t* coarseness = nullptr;
  int64_t own = 0;
  int most = 0;
};

constexpr int kNear = 12;
constexpr int kMaxParents = 16;

// Inputs of the linear prediction with so many parents.
int column_features(int parents);

// The inputs of every stride-th point, one row each, for fitting the weights.
void gather_features(const ColumnContext& context, const uint32_t* values, long stride,
                     int32_t* features);

std::vector<uint8_t> encode_column(const ColumnContext& context, const uint32_t* values);
// False if the bytes are not what encode_column wrote.
bool decode_column(const ColumnContext& context, const uint8_t* data, size_t size,
                   uint32_t* values);

}  // namespace fieldwright
