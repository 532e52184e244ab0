#include "context_columns.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>

#include "binary_coder.hpp"
#include "context_mixing.hpp"

namespace fieldwright {
namespace {

constexpr int kRanked = 6;  // nearest neighbors that enter the prediction one by one
constexpr int kAlike = 4;   // neighbors whose parents are most like the point's own, likewise
constexpr int kGuesses = 5;
constexpr int kContexts = 6;
constexpr int kUnit = 16;  // predictions are in 1/16

// Where things lie among the features.
constexpr int kMean = 1, kNearest = 2, kFirstAlike = kNearest + kRanked;
constexpr int kAlikeMean = kFirstAlike + kAlike, kFirstParent = kAlikeMean + 1;

// What the decoded surroundings say about one value; in 1/16.
struct Surroundings {
  int32_t features[kFirstParent + 2 * kMaxParents];
  int64_t spread, alike_spread;  // mean absolute deviations
};

void gather(const ColumnContext& c, long i, const uint32_t* values, Surroundings& s) {
  const int32_t* around = c.neighbors + i * kNear;
  int known = 0;
  while (known < kNear && around[known] >= 0) ++known;
  const auto value = [&](int r) { return kUnit * static_cast<int64_t>(values[around[r]]); };
  int32_t* f = s.features;
  std::fill_n(f, column_features(static_cast<int>(c.parents.size())), 0);
  s.spread = s.alike_spread = 0;
  f[0] = kUnit;
  for (size_t p = 0; p < c.parents.size(); ++p)
    f[kFirstParent + 2 * p] = static_cast<int32_t>(kUnit * c.parents[p][i]);
  if (known == 0) return;

  int64_t sum = 0;
  for (int r = 0; r < known; ++r) sum += value(r);
  f[kMean] = static_cast<int32_t>(sum / known);
  for (int r = 0; r < known; ++r) s.spread += std::abs(value(r) - f[kMean]);
  s.spread /= known;
  for (int r = 0; r < kRanked; ++r)
    f[kNearest + r] = r < known ? static_cast<int32_t>(value(r)) : f[kMean];

  std::array<uint64_t, kAlike> best;
  best.fill(~uint64_t{0});
  for (int r = 0; r < known; ++r) {
    uint64_t distance = 0;
    for (const uint32_t* column : c.parents)
      distance += static_cast<uint64_t>(
          std::abs(static_cast<int64_t>(column[i]) - static_cast<int64_t>(column[around[r]])));
    uint64_t key = distance << 8 | static_cast<uint64_t>(r);
    for (uint64_t& kept : best)
      if (key < kept) std::swap(key, kept);
  }
  sum = 0;
  for (int a = 0; a < kAlike; ++a) {
    f[kFirstAlike + a] =
        a < known ? static_cast<int32_t>(value(static_cast<int>(best[a] & 255))) : f[kMean];
    sum += f[kFirstAlike + a];
  }
  f[kAlikeMean] = static_cast<int32_t>(sum / kAlike);
  for (int a = 0; a < kAlike; ++a)
    s.alike_spread += std::abs(f[kFirstAlike + a] - f[kAlikeMean]);
  s.alike_spread /= kAlike;

  for (size_t p = 0; p < c.parents.size(); ++p) {
    sum = 0;
    for (int r = 0; r < known; ++r) sum += kUnit * static_cast<int64_t>(c.parents[p][around[r]]);
    f[kFirstParent + 2 * p + 1] = static_cast<int32_t>(sum / known);
  }
}

int log_bucket(int64_t x) {  // 0, 1, then two per octave, at most 31
  if (x < 2) return static_cast<int>(x);
  const int e = static_cast<int>(std::bit_width(static_cast<uint64_t>(x))) - 1;
  return std::min(31, 2 * e + static_cast<int>(x >> (e - 1) & 1));
}

// Average absolute error of a guess, in 1/256, by situation.
struct ErrorTable {
  int64_t mean[32];
  int32_t seen[32] = {};
  explicit ErrorTable(int64_t start) { std::fill_n(mean, 32, start); }
  void update(int situation, int64_t error) {
    mean[situation] += (error - mean[situation]) / (seen[situation] + 2);
    if (seen[situation] < 400) ++seen[situation];
  }
};

// A logistic distribution.
struct Guess {
  int64_t center = 0;  // 1/16
  int64_t slope = 0;   // logits per 1/16, in 2^-16
  uint32_t low = 0, high = 0;  // cumulative at the ends of what the value may still be

  uint32_t cumulative(int64_t edge, const MixingTables& tables) const {
    return tables.cdf[clamp_logit((edge - center) * slope >> 16) + kLogitMax];
  }
};

template <class Coder>
class ColumnCoder {
 public:
  ColumnCoder(const ColumnContext& context, Coder& coder)
      : c_(context),
        model_(coder, context.bits, context.count),
        errors_(3 * kGuesses, ErrorTable(int64_t{32} << context.bits)) {}

  // A decoder overwrites `values` point by point; false where the bytes gave out.
  template <class Failed>
  bool run(uint32_t* values, const Failed& failed) {
    for (long i = 0; i < c_.count; ++i) {
      gather(c_, i, values, s_);
      guess(i);
      set_contexts(i);
      values[i] = code(i, values[i]);
      for (int g = 0; g < kGuesses; ++g) {
        const int64_t value = kUnit * static_cast<int64_t>(values[i]);
        const int64_t error = std::abs(value - guesses_[g].center);
        for (int s = 0; s < 3; ++s) errors_[3 * g + s].update(situations_[s], 16 * error);
      }
      if (failed()) return false;
    }
    return true;
  }

 private:
  // How many lower bits of value i are zero, if its others are those of `upper`.
  int coarseness(long i, int64_t upper) const {
    if (c_.coarseness == nullptr) return 0;
    const int64_t total = c_.coarseness[i] + c_.own * (upper >> c_.most << c_.most);
    return static_cast<int>(std::clamp<int64_t>(total >> 16, 0, c_.most));
  }

  void guess(long i) {
    const int64_t end = int64_t{kUnit} << c_.bits;
    const int32_t* f = s_.features;
    int64_t sum = 0;
    for (int k = 0; k < column_features(static_cast<int>(c_.parents.size())); ++k)
      sum += static_cast<int64_t>(c_.weights[k]) * f[k];
    guesses_[0].center = std::clamp<int64_t>(sum >> 12, 0, end - kUnit);
    guesses_[1].center = f[kMean];
    guesses_[2].center = f[kAlikeMean];
    guesses_[3].center = f[kNearest];
    guesses_[4].center = f[kFirstAlike];
    k_ = coarseness(i, guesses_[0].center / kUnit);
    half_ = c_.own == 0 ? half_step() : kUnit / 2;
    situations_[0] = log_bucket(s_.spread);
    situations_[1] = log_bucket(s_.alike_spread);
    situations_[2] = log_bucket(std::abs(guesses_[0].center - guesses_[2].center));
    for (int g = 0; g < kGuesses; ++g) {
      int64_t error = 0;
      for (int s = 0; s < 3; ++s) error += errors_[3 * g + s].mean[situations_[s]];
      // E|x| = 2 ln 2 scale: 355 = 256 * 1.386 logits per mean error; an eighth for rounding.
      guesses_[g].slope = int64_t{355} * 16 * 65536 / (error / 3 + (int64_t{32} << k_));
      guesses_[g].low = guesses_[g].cumulative(-half_, model_.tables());
      guesses_[g].high = guesses_[g].cumulative(end - half_, model_.tables());
    }
  }

  void set_contexts(long i) {
    const int drop = 4 + std::max(0, c_.bits - 8);
    const auto coarse = [&](int64_t x, int more) {
      return static_cast<uint32_t>(x >> (drop + more));
    };
    const int32_t* f = s_.features;
    const auto parent = [&](size_t back) {  // counted from the most telling
      const size_t n = c_.parents.size();
      return back <= n ? c_.parents[n - back][i] : 0;
    };
    model_.set_contexts({
        static_cast<uint32_t>(k_),
        coarse(guesses_[0].center, 0),
        coarse(f[kNearest], 0),
        parent(1),
        coarse(f[kFirstAlike], 1) << 10 | coarse(f[kFirstAlike + 1], 1),
        (parent(1) >> 5) << 12 | parent(2) >> 5,
    });
  }

  int64_t half_step() const { return (int64_t{kUnit} << k_) / 2; }

  // The value bit by bit, highest first, as far as it is not known to be zero.
  uint32_t code(long i, uint32_t value) {
    uint32_t low = 0;
    for (int b = c_.bits - 1; b >= 0; --b) {
      if (b < c_.most) {
        k_ = coarseness(i, low);
        half_ = half_step();
      }
      if (b < k_) break;
      const uint32_t middle = low + (uint32_t{1} << b);
      int given[kGuesses];
      uint32_t cuts[kGuesses];
      for (int g = 0; g < kGuesses; ++g) {
        const Guess& guess = guesses_[g];
        cuts[g] = guess.cumulative(kUnit * static_cast<int64_t>(middle) - half_,
                                   model_.tables());
        const uint64_t above = guess.high - cuts[g] + 1, below = cuts[g] - guess.low + 1;
        given[g] = model_.tables().logit[above * 4096 / (above + below)];
      }
      const int bit = model_.decide(value >> b & 1, std::max(0, b - k_), given);
      for (int g = 0; g < kGuesses; ++g) (bit ? guesses_[g].low : guesses_[g].high) = cuts[g];
      if (bit) low = middle;
    }
    return low;
  }

  const ColumnContext& c_;
  ContextModel<Coder, kContexts, kGuesses> model_;
  std::vector<ErrorTable> errors_;
  Surroundings s_;
  Guess guesses_[kGuesses];
  int situations_[3];
  int k_ = 0;  // of the value at hand; while its upper bits are unknown, by the first guess
  int64_t half_ = kUnit / 2;  // of a step, of the finest while k is unknown: edges keep their order
};

}  // namespace

int column_features(int parents) { return kFirstParent + 2 * parents; }

void gather_features(const ColumnContext& context, const uint32_t* values, long stride,
                     int32_t* features) {
  const int n = column_features(static_cast<int>(context.parents.size()));
  Surroundings s;
  for (long i = 0; i < context.count; i += stride, features += n) {
    gather(context, i, values, s);
    std::copy_n(s.features, n, features);
  }
}

std::vector<uint8_t> encode_column(const ColumnContext& context, const uint32_t* values) {
  BinaryEncoder coder;
  std::vector<uint32_t> copy(values, values + context.count);
  ColumnCoder<BinaryEncoder>(context, coder).run(copy.data(), [] { return false; });
  return coder.finish();
}

bool decode_column(const ColumnContext& context, const uint8_t* data, size_t size,
                   uint32_t* values) {
  BinaryDecoder coder(data, size);
  std::fill_n(values, context.count, 0);
  ColumnCoder<BinaryDecoder> column(context, coder);
  return column.run(values, [&] { return coder.truncated(); }) && coder.finished();
}

}  // namespace fieldwright
