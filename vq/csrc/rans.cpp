// rANS after Duda (2013) with 32-bit states and 16-bit renormalisation; lane l of a block codes
// the tokens begin + l, begin + l + lanes, ... of every segment.
#include "rans.hpp"

#include <cstring>
#if ISA_avx512 || ISA_avx2
#include <immintrin.h>
#endif

namespace fieldwright::ISA {
namespace {

inline uint16_t word_at(const uint8_t* words, long i) {
  return static_cast<uint16_t>(words[2 * i] | words[2 * i + 1] << 8);
}

// One decoding step of `count` lanes; false when a word is missing.
inline bool decode_step(const RansTable& table, const uint8_t* words, long num_words, long& next,
                        uint32_t* states, uint16_t* tokens, long count) {
  const uint32_t mask = (1u << table.precision) - 1;
  for (long lane = 0; lane < count; ++lane) {
    uint32_t x = states[lane];
    const uint32_t slot = x & mask;
    const uint16_t token = table.slots[slot];
    const uint32_t entry = table.entries[token];
    x = (entry & 0xffff) * (x >> table.precision) + slot - (entry >> 16);
    if (x < kRansLow) {
      if (next >= num_words) return false;
      x = x << 16 | word_at(words, next++);
    }
    states[lane] = x;
    tokens[lane] = token;
  }
  return true;
}

#if ISA_avx512
// All full steps that leave 16 words to read; returns where it stopped.
inline long decode_wide(const RansTable& table, const uint8_t* words, long num_words, long& next,
                        uint32_t* states, uint16_t* tokens, long begin, long end) {
  const __m512i mask = _mm512_set1_epi32((1 << table.precision) - 1);
  const __m512i low16 = _mm512_set1_epi32(0xffff);
  const __m128i precision = _mm_cvtsi32_si128(table.precision);
  __m512i x = _mm512_loadu_si512(states);
  long i = begin, at = next;
  for (; i + 16 <= end && at + 16 <= num_words; i += 16) {
    const __m512i slot = _mm512_and_si512(x, mask);
    const __m512i token =
        _mm512_and_si512(_mm512_i32gather_epi32(slot, table.slots, 2), low16);
    const __m512i entry = _mm512_i32gather_epi32(token, table.entries, 4);
    x = _mm512_add_epi32(
        _mm512_mullo_epi32(_mm512_and_si512(entry, low16), _mm512_srl_epi32(x, precision)),
        _mm512_sub_epi32(slot, _mm512_srli_epi32(entry, 16)));
    const __mmask16 refill = _mm512_cmplt_epu32_mask(x, _mm512_set1_epi32(kRansLow));
    const __m512i fresh = _mm512_cvtepu16_epi32(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + 2 * at)));
    x = _mm512_mask_or_epi32(x, refill, _mm512_slli_epi32(x, 16),
                             _mm512_maskz_expand_epi32(refill, fresh));
    at += __builtin_popcount(refill);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(tokens + i), _mm512_cvtepi32_epi16(token));
  }
  _mm512_storeu_si512(states, x);
  next = at;
  return i;
}
#elif ISA_avx2
// Where lane l of eight reads its word: the number of refilled lanes before it.
struct Expansions {
  alignas(32) int32_t order[256][8];
  Expansions() {
    for (int refill = 0; refill < 256; ++refill)
      for (int lane = 0, rank = 0; lane < 8; ++lane) {
        order[refill][lane] = rank;
        rank += refill >> lane & 1;
      }
  }
};
const Expansions kExpansions;

inline __m256i half_step(const RansTable& table, const uint8_t* words, long& at, __m256i& x) {
  const __m256i mask = _mm256_set1_epi32((1 << table.precision) - 1);
  const __m256i low16 = _mm256_set1_epi32(0xffff);
  const __m256i slot = _mm256_and_si256(x, mask);
  const __m256i token = _mm256_and_si256(
      _mm256_i32gather_epi32(reinterpret_cast<const int*>(table.slots), slot, 2), low16);
  const __m256i entry =
      _mm256_i32gather_epi32(reinterpret_cast<const int*>(table.entries), token, 4);
  x = _mm256_add_epi32(
      _mm256_mullo_epi32(_mm256_and_si256(entry, low16),
                         _mm256_srl_epi32(x, _mm_cvtsi32_si128(table.precision))),
      _mm256_sub_epi32(slot, _mm256_srli_epi32(entry, 16)));
  const __m256i refill = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
  const int bits = _mm256_movemask_ps(_mm256_castsi256_ps(refill));
  const __m256i fresh = _mm256_permutevar8x32_epi32(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words + 2 * at))),
      _mm256_load_si256(reinterpret_cast<const __m256i*>(kExpansions.order[bits])));
  x = _mm256_blendv_epi8(x, _mm256_or_si256(_mm256_slli_epi32(x, 16), fresh), refill);
  at += __builtin_popcount(bits);
  return token;
}

inline long decode_wide(const RansTable& table, const uint8_t* words, long num_words, long& next,
                        uint32_t* states, uint16_t* tokens, long begin, long end) {
  __m256i x0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(states));
  __m256i x1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(states + 8));
  long i = begin, at = next;
  for (; i + 16 <= end && at + 16 <= num_words; i += 16) {
    const __m256i t0 = half_step(table, words, at, x0);
    const __m256i t1 = half_step(table, words, at, x1);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(tokens + i),
                        _mm256_permute4x64_epi64(_mm256_packus_epi32(t0, t1), 0xd8));
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(states), x0);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(states + 8), x1);
  next = at;
  return i;
}
#endif

template <int kLanes>
void encode_block(const RansBlock& block, const uint16_t* tokens, uint32_t* states,
                  uint16_t*& words) {
  for (int lane = 0; lane < kLanes; ++lane) states[lane] = kRansLow;
  for (int s = block.num_segments - 1; s >= 0; --s) {
    const RansSegment& segment = block.segments[s];
    const int precision = segment.table->precision;
    const uint32_t* entries = segment.table->entries;
    const long size = segment.end - segment.begin;
    for (long step = (size + kLanes - 1) / kLanes - 1; step >= 0; --step) {
      const uint16_t* at = tokens + segment.begin + step * kLanes;
      const long rest = size - step * kLanes;
      for (int lane = static_cast<int>(rest < kLanes ? rest : kLanes) - 1; lane >= 0; --lane) {
        const uint32_t entry = entries[at[lane]], frequency = entry & 0xffff;
        uint32_t x = states[lane];
        // Always store, move on only if the state would overflow: no branch to mispredict.
        words[-1] = static_cast<uint16_t>(x);
        const bool full = x >= frequency << (32 - precision);
        words -= full;
        x >>= full ? 16 : 0;
        // x < 2^32 and both are exact in double, so the truncated quotient is the integer one.
        const uint32_t quotient =
            static_cast<uint32_t>(static_cast<double>(x) / static_cast<double>(frequency));
        states[lane] = (quotient << precision) + (x - quotient * frequency) + (entry >> 16);
      }
    }
  }
}

}  // namespace

// Fills `states` [lanes] and the words before `words_end`, in the order the decoder reads them.
void rans_encode(const RansBlock& block, const uint16_t* tokens, uint32_t* states,
                 uint16_t* words_end, long* num_words) {
  uint16_t* words = words_end;
  if (block.lanes == 16)
    encode_block<16>(block, tokens, states, words);
  else if (block.lanes == 4)
    encode_block<4>(block, tokens, states, words);
  else
    encode_block<1>(block, tokens, states, words);
  *num_words = words_end - words;
}

// Fills the tokens of the block and leaves the final `states`; `consumed` is the number of words
// read, or -1 - (words read) when one was missing.
void rans_decode(const RansBlock& block, const uint8_t* words, long num_words, uint32_t* states,
                 uint16_t* tokens, long* consumed) {
  long next = 0;
  for (int s = 0; s < block.num_segments; ++s) {
    const RansSegment& segment = block.segments[s];
    long i = segment.begin;
    while (i < segment.end) {
#if ISA_avx512 || ISA_avx2
      if (block.lanes == 16)
        i = decode_wide(*segment.table, words, num_words, next, states, tokens, i, segment.end);
#endif
      if (i >= segment.end) break;
      const long rest = segment.end - i, count = rest < block.lanes ? rest : block.lanes;
      if (!decode_step(*segment.table, words, num_words, next, states, tokens + i, count)) {
        *consumed = -1 - next;
        return;
      }
      i += count;
    }
  }
  *consumed = next;
}

}  // namespace fieldwright::ISA
