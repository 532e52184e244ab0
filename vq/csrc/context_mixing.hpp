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
  // The probability's distance from 1/2, in 1/1024, likewise.
  int lean(const MixingTables& tables) const {
    const int64_t distance = static_cast<int64_t>(state >> 10) - (1 << 21);
    return static_cast<int>((distance * tables.trust[seen()] >> 16) >> 12);
  }
  void update(int bit, const MixingTables& tables) {
    const int n = seen();
    const int64_t p = state >> 10;
    const int64_t target = bit ? (1 << 22) - 1 : 0;
    const int64_t moved = p + ((target - p) * tables.rate[n] >> 16);
    state = static_cast<uint32_t>(moved) << 10 | static_cast<uint32_t>(n + (n < kSlowest));
  }
};

// One way to weigh the inputs of a decision; 65536 is 1.
template <int kInputs>
struct Mixer {
  static constexpr int kMax = 1 << 20, kSettledRate = 100;
  int weights[kInputs];
  int seen = 0;

  int logit(const int* x) const {
    int64_t sum = 0;
    for (int i = 0; i < kInputs; ++i) sum += static_cast<int64_t>(weights[i]) * x[i];
    return clamp_logit(sum >> 16);
  }
  // After a decision on these inputs, which this mixer alone gave the probability p.
  void learn(const int* x, int p, int bit) {
    const int rate = seen < 4000 ? kSettledRate + 4000 / (16 + seen++) : kSettledRate;
    const int step = ((bit << 16) - p) * rate >> 8;
    for (int i = 0; i < kInputs; ++i)
      weights[i] = std::clamp(weights[i] + ((x[i] * step + (1 << 13)) >> 14), -kMax, kMax);
  }
};

// Codes bits whose probability is mixed from one counter per context and from given logits. Two
// mixers do that, one of the situation at hand and one of all; the mean of their logits counts.
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
        mixers_(num_sets, first_mixer()),
        common_(first_mixer()) {}

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

  // Codes the next bit of the path with mixer `set` and the common one; `given` holds the logits
  // that the caller knows. A decoder ignores `bit`.
  int decide(int bit, int set, const int* given) {
    if (leaf_ >= 16) enter();
    int x[kInputs];
    for (int c = 0; c < kContexts; ++c) {
      const Counter& counter = current_[c]->counters[leaf_];
      x[c] = counter.logit(tables_);
      x[kContexts + c] = counter.lean(tables_);
    }
    for (int g = 0; g < kGiven; ++g) x[2 * kContexts + g] = given[g];
    x[kInputs - 1] = 256;
    Mixer<kInputs>& own = mixers_[set];
    const int logits[2] = {own.logit(x), common_.logit(x)};
    bit = coder_.code(bit, static_cast<uint32_t>(probability((logits[0] + logits[1]) >> 1)));
    own.learn(x, probability(logits[0]), bit);
    common_.learn(x, probability(logits[1]), bit);
    for (Line* line : current_) line->counters[leaf_].update(bit, tables_);
    leaf_ = 2 * leaf_ + static_cast<uint32_t>(bit);
    node_ = 2 * node_ + static_cast<uint32_t>(bit);
    return bit;
  }

 private:
  static constexpr int kInputs = 2 * kContexts + kGiven + 1;

  struct alignas(64) Line {
    Counter counters[16];
  };

  // Leans have no weight at first.
  static Mixer<kInputs> first_mixer() {
    Mixer<kInputs> mixer;
    std::fill_n(mixer.weights, kInputs, 12000);
    std::fill_n(mixer.weights + kContexts, kContexts, 0);
    return mixer;
  }

  // Of a 1, in 2^-16.
  int probability(int logit) const {
    return std::clamp(static_cast<int>(tables_.cdf[logit + kLogitMax] >> 12), 1, 65535);
  }

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
  std::vector<Mixer<kInputs>> mixers_;
  Mixer<kInputs> common_;
  uint32_t bases_[kContexts] = {};
  Line* current_[kContexts] = {};
  uint32_t node_ = 1, leaf_ = 1;
};

}  // namespace fieldwright
