// Interleaved static range-ANS coding of tokens; the byte format is described in vq/entropy/rans.py.
#pragma once
#include <cstdint>

namespace fieldwright {

constexpr uint32_t kRansLow = 1u << 16;  // states live in [2^16, 2^32)

// Tables of one column: `slots` maps each of the 2^precision slots to its token (one more entry
// may be read), `entries` holds frequency | first slot << 16 per token.
struct RansTable {
  const uint16_t* slots;
  const uint32_t* entries;
  int precision;
};

// A run of tokens of one column inside a block.
struct RansSegment {
  const RansTable* table;
  long begin, end;  // range of the token array
};

// A block of segments that share `lanes` states (1, 4 or 16).
struct RansBlock {
  const RansSegment* segments;
  int num_segments;
  int lanes;
};

#define FIELDWRIGHT_DECLARE(isa)                                                                 \
  namespace isa {                                                                                \
  void rans_encode(const RansBlock& block, const uint16_t* tokens, uint32_t* states,             \
                   uint16_t* words_end, long* num_words);                                        \
  void rans_decode(const RansBlock& block, const uint8_t* words, long num_words,                 \
                   uint32_t* states, uint16_t* tokens, long* consumed);                          \
  }
FIELDWRIGHT_DECLARE(portable)
FIELDWRIGHT_DECLARE(avx2)
FIELDWRIGHT_DECLARE(avx512)
#undef FIELDWRIGHT_DECLARE

}  // namespace fieldwright
