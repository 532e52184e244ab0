// Copies columns of 4-byte values between tables of rows, as readers and writers of files do.
#pragma once
#include <cstdint>
#include <vector>

namespace fieldwright {

// target[row][to[j]] = source[row][from[j]] for every row; offsets and strides in bytes, unaligned.
struct ColumnMove {
  const char* source;
  long source_stride;
  char* target;
  long target_stride;
  std::vector<int32_t> from, to;
};

// Rows [begin, end) of all moves, with the bytes of each value reversed where `swap`.
// Returns true where a value read as a float is infinite or not a number.
bool move_columns(const std::vector<ColumnMove>& moves, bool swap, long begin, long end);

}  // namespace fieldwright
