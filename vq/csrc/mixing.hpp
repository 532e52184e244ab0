// Binary arithmetic coding with probabilities mixed from several contexts, in integers only.
//
// Each context keeps an adaptive probability; their logits are summed with weights that follow the
// prediction error (logistic mixing, Mahoney's PAQ). The range coder holds 64 bits and moves 32 at
// a time. vq/vectors/reference.py is the twin that defines every bit.
#pragma once
#include <cstdint>
#include <vector>

#include "coefficients.hpp"

namespace fieldwright::ISA {

constexpr int kInputs = 8;           // contexts per decision, the last one a constant
constexpr int kLogitLimit = 2047;    // logits carry 8 fractional bits
constexpr int kBias = 256;           // the constant input's logit
constexpr uint32_t kCountMask = 1023;

// Probability of a 1 in the top 22 bits, number of decisions seen in the low 10.
struct Slot {
  uint32_t state = 1u << 31;
  int top() const { return static_cast<int>(state >> 20); }
  void update(const CoefficientTables& tables, int bit) {
    const int64_t p = state >> 10;
    const uint32_t count = state & kCountMask;
    const int64_t target = bit ? (1 << 22) - 1 : 0;
    const int64_t moved = p + (((target - p) * tables.rates[count]) >> 16);
    const uint32_t next = count + (count < static_cast<uint32_t>(tables.count_limit));
    state = static_cast<uint32_t>(moved) << 10 | next;
  }
};

struct Weights {
  int32_t value[kInputs];
  int32_t seen;
};

// One decision: where its inputs live and what they predict. All eight inputs go through the same
// arithmetic, so that compilers do them at once; the constant one has a state that nobody keeps.
struct Decision {
  Slot* slots[kInputs - 1];
  Weights* weights;
  uint32_t states[kInputs];
  int32_t logits[kInputs];
  int32_t probability;  // of a 1, 16 bits, in [32, 65504]

  void predict(const CoefficientTables& tables) {
    for (int i = 0; i < kInputs - 1; ++i) states[i] = slots[i]->state;
    states[kInputs - 1] = 0;
    for (int i = 0; i < kInputs; ++i) logits[i] = tables.logits[states[i] >> 20];
    logits[kInputs - 1] = kBias;
    int64_t sum = 0;
    for (int i = 0; i < kInputs; ++i)
      sum += static_cast<int64_t>(weights->value[i]) * logits[i];
    int64_t logit = sum >> 16;
    logit = logit > kLogitLimit ? kLogitLimit : logit < -kLogitLimit ? -kLogitLimit : logit;
    probability = tables.probabilities[logit + 2048];
  }

  // Learning starts four times as fast and settles after some hundred decisions.
  void update(const CoefficientTables& tables, int bit) {
    const int32_t rate = weights->seen < 64 ? 8 : weights->seen < 256 ? 4 : 2;
    const int32_t error = ((bit << 16) - probability) * rate;
    weights->seen += weights->seen < 256;
    // |logit * error| < 2^11 2^16 2^3: 32 bits hold it.
    for (int i = 0; i < kInputs; ++i)
      weights->value[i] += (logits[i] * error + (1 << 16)) >> 17;
    const int64_t target = bit ? (1 << 22) - 1 : 0;
    const uint32_t limit = static_cast<uint32_t>(tables.count_limit);
    int32_t rates[kInputs];
    for (int i = 0; i < kInputs; ++i) rates[i] = tables.rates[states[i] & kCountMask];
    for (int i = 0; i < kInputs; ++i) {
      const int64_t p = states[i] >> 10;
      const uint32_t moved = static_cast<uint32_t>(p + (((target - p) * rates[i]) >> 16));
      const uint32_t count = states[i] & kCountMask;
      states[i] = moved << 10 | (count + (count < limit));
    }
    for (int i = 0; i < kInputs - 1; ++i) slots[i]->state = states[i];
  }

  int cost(const CoefficientTables& tables, int bit) const {
    const int32_t p = bit ? probability : 65536 - probability;
    return tables.costs[p >> 4];
  }
};

// Low end and width of the interval; carries run back into the words already written.
class RangeEncoder {
 public:
  explicit RangeEncoder(std::vector<uint32_t>& words) : words_(words) {}
  void code(int32_t probability, int bit) {
    const uint64_t bound = (range_ >> 16) * static_cast<uint64_t>(probability);
    if (bit) {
      range_ = bound;
    } else {
      low_ += bound;
      if (low_ < bound) carry();
      range_ -= bound;
    }
    if (range_ < (1ull << 32)) {
      words_.push_back(static_cast<uint32_t>(low_ >> 32));
      low_ <<= 32;
      range_ <<= 32;
    }
  }
  // The shortest number in the interval; zeros at the end of a stream need not be stored.
  void finish() {
    for (int bits = 56; bits >= 0; bits -= 8) {
      const uint64_t rest = (1ull << bits) - 1;
      const uint64_t value = (low_ + rest) & ~rest;
      if (value - low_ >= range_) continue;
      if (value < low_) carry();
      words_.push_back(static_cast<uint32_t>(value >> 32));
      words_.push_back(static_cast<uint32_t>(value));
      return;
    }
  }

 private:
  void carry() {
    for (size_t i = words_.size(); i-- > 0;)
      if (++words_[i] != 0) return;
  }
  std::vector<uint32_t>& words_;
  uint64_t low_ = 0, range_ = ~0ull;
};

// Reads zeros past the end: a truncated stream decodes to wrong values, never out of bounds.
class RangeDecoder {
 public:
  RangeDecoder(const uint8_t* data, size_t size) : data_(data), size_(size) {
    code_ = static_cast<uint64_t>(word()) << 32;
    code_ |= word();
  }
  int decode(int32_t probability) {
    const uint64_t bound = (range_ >> 16) * static_cast<uint64_t>(probability);
    const int bit = code_ < bound;
    if (bit) {
      range_ = bound;
    } else {
      code_ -= bound;
      range_ -= bound;
    }
    if (range_ < (1ull << 32)) {
      code_ = code_ << 32 | word();
      range_ <<= 32;
    }
    return bit;
  }
  size_t position() const { return position_; }

 private:
  uint32_t word() {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32_t byte = position_ < size_ ? data_[position_] : 0;
      value = value << 8 | byte;
      ++position_;
    }
    return value;
  }
  const uint8_t* data_;
  size_t size_, position_ = 0;
  uint64_t code_, range_ = ~0ull;
};

}  // namespace fieldwright::ISA
