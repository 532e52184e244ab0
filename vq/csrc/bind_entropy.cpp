// Python names of the entropy coding kernels: rans_encode, rans_decode.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "dispatch.hpp"
#include "rans.hpp"
#include "thread_pool.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace fieldwright {
namespace {

template <typename T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

// The tables, and the blocks as segments of whole columns or pieces of them.
class Layout {
 public:
  Layout(Array<const uint32_t> frequencies, Array<const int64_t> firsts,
         Array<const int64_t> precisions, Array<const int64_t> ends, long size,
         Array<const int64_t> bounds, int lanes, bool with_slots)
      : columns_(static_cast<long>(precisions.shape(0))) {
    require(lanes == 1 || lanes == 4 || lanes == 16, "lanes must be 1, 4 or 16");
    require(size > 0 && columns_ > 0 && static_cast<long>(ends.shape(0)) == columns_ &&
                ends.data()[columns_ - 1] == size,
            "ends must cover the tokens");
    for (long c = 0; c < columns_; ++c)
      require(ends.data()[c] > (c ? ends.data()[c - 1] : 0), "ends must rise");
    require(static_cast<long>(firsts.shape(0)) == columns_ + 1, "firsts must be [columns + 1]");
    require(bounds.shape(0) >= 2, "bounds must be [blocks + 1]");
    require(firsts.data()[0] == 0 &&
                firsts.data()[columns_] == static_cast<int64_t>(frequencies.shape(0)),
            "firsts must cover frequencies");
    for (long c = 0; c < columns_; ++c)
      add_table(frequencies.data(), firsts.data()[c], firsts.data()[c + 1],
                static_cast<int>(precisions.data()[c]), with_slots);
    for (long c = 0; c < columns_; ++c)
      tables_.push_back({slots_[c].data(), entries_[c].data(),
                         static_cast<int>(precisions.data()[c])});
    add_blocks(ends, bounds, lanes);
  }

  const RansBlock& block(long i) const { return blocks_[i]; }
  long num_blocks() const { return static_cast<long>(blocks_.size()); }
  bool has(long column, uint16_t token) const {
    return token < entries_[column].size() && (entries_[column][token] & 0xffff) != 0;
  }

 private:
  void add_table(const uint32_t* frequencies, int64_t begin, int64_t end, int precision,
                 bool with_slots) {
    require(begin >= 0 && begin < end && end - begin <= 65536, "a table must hold tokens");
    require(precision >= 1 && precision <= 16, "precision must be 1 to 16");
    std::vector<uint32_t> entries(end - begin);
    std::vector<uint16_t> slots(with_slots ? (1l << precision) + 2 : 0);
    uint64_t total = 0;
    for (int64_t t = begin; t < end; ++t) {
      const uint64_t frequency = frequencies[t];
      require(frequency < (1u << precision) && total + frequency <= (1u << precision),
              "frequencies must be below their sum, 2^precision");
      entries[t - begin] = static_cast<uint32_t>(frequency | (total & 0xffff) << 16);
      if (with_slots)
        std::fill_n(slots.begin() + total, frequency, static_cast<uint16_t>(t - begin));
      total += frequency;
    }
    require(total == 1u << precision, "frequencies must add up to 2^precision");
    entries_.push_back(std::move(entries));
    slots_.push_back(std::move(slots));
  }

  void add_blocks(Array<const int64_t> ends, Array<const int64_t> bounds, int lanes) {
    const int64_t* edge = bounds.data();
    const long blocks = static_cast<long>(bounds.shape(0)) - 1;
    require(edge[0] == 0 && edge[blocks] == ends.data()[columns_ - 1], "bounds must cover the tokens");
    segments_.resize(blocks);
    long column = 0;
    for (long b = 0; b < blocks; ++b) {
      require(edge[b] < edge[b + 1], "bounds must rise");
      for (long at = edge[b]; at < edge[b + 1];) {
        const long stop = std::min<long>(ends.data()[column], edge[b + 1]);
        segments_[b].push_back({&tables_[column], at, stop});
        at = stop;
        column += at == ends.data()[column];
      }
      blocks_.push_back({segments_[b].data(), static_cast<int>(segments_[b].size()), lanes});
    }
  }

  long columns_;
  std::vector<std::vector<uint32_t>> entries_;
  std::vector<std::vector<uint16_t>> slots_;
  std::vector<RansTable> tables_;
  std::vector<std::vector<RansSegment>> segments_;
  std::vector<RansBlock> blocks_;
};

void encode(Array<const uint16_t> tokens, Array<const uint32_t> frequencies,
            Array<const int64_t> firsts, Array<const int64_t> precisions,
            Array<const int64_t> ends, Array<const int64_t> bounds, int lanes, Array<uint32_t> states,
            Array<uint16_t> words, Array<int64_t> num_words) {
  const long size = static_cast<long>(tokens.shape(0));
  nb::gil_scoped_release release;
  const Layout layout(frequencies, firsts, precisions, ends, size, bounds, lanes, false);
  const long blocks = layout.num_blocks();
  require(static_cast<long>(states.shape(0)) == blocks * lanes &&
              static_cast<long>(num_words.shape(0)) == blocks &&
              static_cast<long>(words.shape(0)) == size + blocks,
          "states, num_words or words have the wrong length");
  for (long c = 0, i = 0; c < static_cast<long>(ends.shape(0)); ++c)
    for (; i < ends.data()[c]; ++i)
      require(layout.has(c, tokens.data()[i]), "a token has no frequency");
  parallel_for(static_cast<int>(blocks), [&](int b) {
    long count = 0;
    // One word of room before each block: the encoder stores a word before it knows it is due.
    FIELDWRIGHT_DISPATCH(rans_encode, layout.block(b), tokens.data(), states.data() + b * lanes,
                         words.data() + bounds.data()[b + 1] + b + 1, &count);
    num_words.data()[b] = count;
  });
}

void decode(Array<const uint8_t> data, Array<const int64_t> offsets,
            Array<const int64_t> num_words, Array<const uint32_t> frequencies,
            Array<const int64_t> firsts, Array<const int64_t> precisions,
            Array<const int64_t> ends, Array<const int64_t> bounds, int lanes, Array<uint32_t> states,
            Array<uint16_t> tokens, Array<int64_t> consumed) {
  const long size = static_cast<long>(tokens.shape(0));
  nb::gil_scoped_release release;
  const Layout layout(frequencies, firsts, precisions, ends, size, bounds, lanes, true);
  const long blocks = layout.num_blocks();
  require(static_cast<long>(states.shape(0)) == blocks * lanes &&
              static_cast<long>(offsets.shape(0)) == blocks &&
              static_cast<long>(num_words.shape(0)) == blocks &&
              static_cast<long>(consumed.shape(0)) == blocks,
          "states, offsets, num_words or consumed have the wrong length");
  const long bytes = static_cast<long>(data.shape(0));
  for (long b = 0; b < blocks; ++b) {
    const int64_t at = offsets.data()[b], count = num_words.data()[b];
    require(at >= 0 && at <= bytes && count >= 0 && count <= (bytes - at) / 2,
            "a block lies outside the data");
  }
  parallel_for(static_cast<int>(blocks), [&](int b) {
    long used = 0;
    FIELDWRIGHT_DISPATCH(rans_decode, layout.block(b), data.data() + offsets.data()[b],
                         num_words.data()[b], states.data() + b * lanes, tokens.data(), &used);
    consumed.data()[b] = used;
  });
}

}  // namespace

void bind_entropy(nb::module_& m) {
  m.def("rans_encode", &encode, "tokens"_a, "frequencies"_a, "firsts"_a, "precisions"_a,
        "ends"_a, "bounds"_a, "lanes"_a, "states"_a, "words"_a, "num_words"_a,
        "Code the columns of tokens; block b's words end before words[bounds[b + 1] + b + 1].");
  m.def("rans_decode", &decode, "data"_a, "offsets"_a, "num_words"_a, "frequencies"_a,
        "firsts"_a, "precisions"_a, "ends"_a, "bounds"_a, "lanes"_a, "states"_a, "tokens"_a, "consumed"_a,
        "Fill tokens from the blocks in data; consumed[b] is below 0 where words were missing.");
}

}  // namespace fieldwright
