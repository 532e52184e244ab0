// Lossless coding of a set of lattice points, duplicates included, without their order.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fieldwright {

// `points` [count, 3] sorted by Morton code (x lowest bit), coordinates below 2^bits, bits <= 21.
std::vector<uint8_t> encode_points(const uint32_t* points, long count, int bits);
// The points in Morton order. False if the bytes are not what encode_points wrote.
bool decode_points(const uint8_t* data, size_t size, long count, int bits, uint32_t* points);

}  // namespace fieldwright
