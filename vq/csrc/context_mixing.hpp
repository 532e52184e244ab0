// Integer context mixing: adaptive bit counters and parametric guesses, blended in the logistic
// domain (Mahoney's PAQ family; Mattern 2012). Integers only, so every machine decodes the same
// bits; vq/sets/mixing.py is the twin.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <vector>

namespace fieldwright {

// Logits are in 1/256 nats and lie in [-kLogitMax, kLogitMax].
constexpr int kLogitMax = 3071;

struct MixingTables {
  // cdf[k + kLogitMax]: logistic function of k / 256 in units of 2^-28.
  std::array<uint32_t, 2 * kLogitMax + 1> cdf;
  // logit[q]: of the probability (q + 1/2) / 4096.
  std::array<int16_t, 4096> logit;
  // rate[n]: 65536 / (n + 1.6), the step of a counter that has seen n bits.
  std::array<uint16_t, 256> rate;
  // trust[n]: 65536 n / (n + 2), the weight of its logit.
  std::array<uint16_t, 256> trust;

  MixingTables() {
    // 1069555701 = 2^30 exp(-1/256), rounded.
    uint64_t power = uint64_t{1} << 30;
    for (int k = 0; k <= kLogitMax; ++k) {
      const uint64_t upper = (uint64_t{1} << 58) / ((uint64_t{1} << 30) + power);
      cdf[kLogitMax + k] = static_cast<uint32_t>(upper);
      cdf[kLogitMax - k] = static_cast<uint32_t>((uint64_t{1} << 28) - upper);
      power = (power * 1069555701 + (1 << 29)) >> 30;
    }
    int k = -kLogitMax;
    for (int q = 0; q < 4096; ++q) {
      while (k < kLogitMax && cdf[k + kLogitMax] >> 15 < 2 * static_cast<uint32_t>(q) + 1) ++k;
      logit[q] = static_cast<int16_t>(k);
    }
    for (int n = 0; n < 256; ++n) {
      rate[n] = static_cast<uint16_t>(655360 / (10 * n + 16));
      trust[n] = static_cast<uint16_t>(65536 * n / (n + 2));
    }
  }
};

inline const MixingTables& mixing_tables() {
  static const MixingTables tables;
  return tables;
}

inline int clamp_logit(int64_t x) {
  return static_cast<int>(std::clamp<int64_t>(x, -kLogitMax, kLogitMax));
}

// Probability of a 1 in the upper 22 bits, number of bits seen in the lower 10.
struct Counter {
  static constexpr int kSlowest = 250;
  uint32_t state = uint32_t{1} << 31;

  int seen() const { return static_cast<int>(state & 1023); }
  // Rare contexts speak softly.
  int logit(const MixingTables& tables) const {
    return tables.logit[state >> 20] * tables.trust[seen()] >> 16;
  }
  void update(int bit, const MixingTables& tables) {
    const int n = seen();
    const int64_t p = state >> 10;
    const int64_t target = bit ? (1 << 22) - 1 : 0;
    const int64_t moved = p + ((target - p) * tables.rate[n] >> 16);
    state = static_cast<uint32_t>(moved) << 10 | static_cast<uint32_t>(n + (n < kSlowest));
  }
};

// Codes bits whose probability is mixed from one counter per context and from given logits.
//
// The decisions between two calls of set_contexts form a path through a binary tree. Its nodes
// have counters of their own; four levels of the tree share a line of 16 counters.
template <class Coder, int kContexts, int kGiven>
class ContextModel {
 public:
  // `count`: how many times set_contexts will be called, about; sizes the tables.
  ContextModel(Coder& coder, int num_sets, long count)
      : coder_(coder),
        line_bits_(3 + std::min(11, static_cast<int>(std::bit_width(uint64_t(count))))),
        lines_(size_t{kContexts} << line_bits_),
        weights_(static_cast<size_t>(num_sets) * kInputs, kFirstWeight),
        seen_(num_sets, 0) {}

  const MixingTables& tables() const { return tables_; }

  // What the next decisions depend on, one number per context.
  void set_contexts(const uint32_t (&contexts)[kContexts]) {
    for (int c = 0; c < kContexts; ++c)
      bases_[c] = (contexts[c] + 1) * 0x9E3779B1u * (2 * static_cast<uint32_t>(c) + 1);
    node_ = 1;
    enter();
  }

  // Codes a bit that nothing is known about.
  int decide_evenly(int bit) { return coder_.code(bit, 32768); }

  // Codes the next bit of the path with weight set `set`; `given` holds the logits that the caller
  // knows. A decoder ignores `bit`.
  int decide(int bit, int set, const int* given) {
    if (leaf_ >= 16) enter();
    int x[kInputs];
    for (int c = 0; c < kContexts; ++c) x[c] = current_[c]->counters[leaf_].logit(tables_);
    for (int g = 0; g < kGiven; ++g) x[kContexts + g] = given[g];
    x[kInputs - 1] = 256;
    int* w = &weights_[static_cast<size_t>(set) * kInputs];
    int64_t sum = 0;
    for (int i = 0; i < kInputs; ++i) sum += static_cast<int64_t>(w[i]) * x[i];
    const int logit = clamp_logit(sum >> 16);
    const int p = std::clamp(static_cast<int>(tables_.cdf[logit + kLogitMax] >> 12), 1, 65535);
    bit = coder_.code(bit, static_cast<uint32_t>(p));
    const int rate = kSettledRate + 4000 / (16 + seen_[set]);
    if (seen_[set] < 65535) ++seen_[set];
    const int step = ((bit << 16) - p) * rate >> 8;
    for (int i = 0; i < kInputs; ++i)
      w[i] = std::clamp(w[i] + ((x[i] * step + (1 << 13)) >> 14), -kWeightMax, kWeightMax);
    for (Line* line : current_) line->counters[leaf_].update(bit, tables_);
    leaf_ = 2 * leaf_ + static_cast<uint32_t>(bit);
    node_ = 2 * node_ + static_cast<uint32_t>(bit);
    return bit;
  }

 private:
  static constexpr int kInputs = kContexts + kGiven + 1;
  static constexpr int kFirstWeight = 12000, kWeightMax = 1 << 20, kSettledRate = 40;

  struct alignas(64) Line {
    Counter counters[16];
  };

  void enter() {
    for (int c = 0; c < kContexts; ++c) {
      uint32_t slot = bases_[c] + node_ * 0x85EBCA6Bu;
      slot = (slot ^ slot >> 15) * 0x2C1B3C6Du >> (32 - line_bits_);
      current_[c] = &lines_[(static_cast<size_t>(c) << line_bits_) + slot];
    }
    leaf_ = 1;
  }

  Coder& coder_;
  const MixingTables& tables_ = mixing_tables();
  int line_bits_;
  std::vector<Line> lines_;
  std::vector<int> weights_, seen_;
  uint32_t bases_[kContexts] = {};
  Line* current_[kContexts] = {};
  uint32_t node_ = 1, leaf_ = 1;
};

}  // namespace fieldwright
