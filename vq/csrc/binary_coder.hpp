// Binary arithmetic coder: 32-bit interval, 16-bit probabilities, bytes leave from the top.
// The byte layout is specified in vq/sets/mixing.py, whose coder is this one's twin.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fieldwright {

class BinaryEncoder {
 public:
  static constexpr bool kDecodes = false;

  // Codes `bit`, whose probability of being 1 is p / 65536, p in [1, 65535].
  int code(int bit, uint32_t p) {
    const uint32_t middle = low_ + static_cast<uint32_t>((uint64_t{high_ - low_} * p) >> 16);
    if (bit) high_ = middle;
    else low_ = middle + 1;
    while (((low_ ^ high_) & 0xff000000u) == 0) {
      bytes_.push_back(static_cast<uint8_t>(high_ >> 24));
      low_ <<= 8;
      high_ = high_ << 8 | 255;
    }
    return bit;
  }

  // The bytes so far and the four of `low`, which pin the last interval down.
  std::vector<uint8_t> finish() {
    for (int shift = 24; shift >= 0; shift -= 8)
      bytes_.push_back(static_cast<uint8_t>(low_ >> shift));
    return std::move(bytes_);
  }

 private:
  uint32_t low_ = 0, high_ = 0xffffffffu;
  std::vector<uint8_t> bytes_;
};

class BinaryDecoder {
 public:
  static constexpr bool kDecodes = true;

  BinaryDecoder(const uint8_t* data, size_t size) : next_(data), end_(data + size) {
    for (int i = 0; i < 4; ++i) code_ = code_ << 8 | take();
  }

  int code(int, uint32_t p) {
    const uint32_t middle = low_ + static_cast<uint32_t>((uint64_t{high_ - low_} * p) >> 16);
    const int bit = code_ <= middle;
    if (bit) high_ = middle;
    else low_ = middle + 1;
    while (((low_ ^ high_) & 0xff000000u) == 0) {
      low_ <<= 8;
      high_ = high_ << 8 | 255;
      code_ = code_ << 8 | take();
    }
    return bit;
  }

  // Bytes were missing: what was decoded since then is meaningless.
  bool truncated() const { return missing_; }
  // Every byte was used.
  bool finished() const { return next_ == end_ && !missing_; }

 private:
  uint32_t take() {
    if (next_ < end_) return *next_++;
    missing_ = true;
    return 0;
  }

  uint32_t low_ = 0, high_ = 0xffffffffu, code_ = 0;
  const uint8_t *next_, *end_;
  bool missing_ = false;
};

}  // namespace fieldwright
