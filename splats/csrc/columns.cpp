// Bound by memory: blocks of rows are read once into the cache and served to every move.
#include "columns.hpp"

#include <cstring>

namespace fieldwright {
namespace {

constexpr long kBlock = 64;  // rows; 16 kB at degree 3, half of a first-level cache
constexpr uint32_t kExponent = 0x7f800000u;

template <bool swap>
uint32_t move_block(const ColumnMove& move, long begin, long end) {
  const int count = static_cast<int>(move.from.size());
  const int32_t* from = move.from.data();
  const int32_t* to = move.to.data();
  uint32_t bad = 0;
  for (long row = begin; row < end; ++row) {
    const char* source = move.source + row * move.source_stride;
    char* target = move.target + row * move.target_stride;
    for (int j = 0; j < count; ++j) {
      uint32_t bits;
      std::memcpy(&bits, source + from[j], 4);
      if constexpr (swap) bits = __builtin_bswap32(bits);
      bad |= (bits & kExponent) == kExponent;
      std::memcpy(target + to[j], &bits, 4);
    }
  }
  return bad;
}

}  // namespace

bool move_columns(const std::vector<ColumnMove>& moves, bool swap, long begin, long end) {
  uint32_t bad = 0;
  for (long start = begin; start < end; start += kBlock) {
    const long stop = start + kBlock < end ? start + kBlock : end;
    for (const ColumnMove& move : moves)
      bad |= swap ? move_block<true>(move, start, stop) : move_block<false>(move, start, stop);
  }
  return bad != 0;
}

}  // namespace fieldwright
