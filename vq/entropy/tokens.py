"""Integers of any width as tokens of a small alphabet and raw bits.

A column's alphabet has `size` direct tokens for the values low, low + 1, ..., and classes for the
values outside. A value e + 1 steps below `low` or e + 1 steps above the last direct value is
written as g = e + 4 = 2^(k + 2) * 1.xx in binary: its class 4 k + xx is the token, the remaining
k bits are stored as they are. Tokens are numbered in the order of the values: the classes below
(farthest first), the direct values, the classes above. A class is a quarter of an octave, so even
a density that spans the whole width costs little more than its entropy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contract import CodecError

MAX_TOKENS = 1 << 15
"""Largest alphabet: half of the 2^16 slots that the widest frequency table has."""
FEW_TOKENS = 64
"""Direct tokens that any column may have; more only up to twice its number of items."""
MAX_CLASSES = 4 * 60
"""Classes of distances below 2^62 - 4; with values within 2^60 of 0, no sum overflows int64."""
MAX_MAGNITUDE = 1 << 60
"""Largest magnitude of a value."""


@dataclass(frozen=True)
class Alphabet:
    """Which values are tokens of their own, and how many classes lie on either side."""

    low: int
    """Value of the first direct token."""
    size: int
    """Number of direct tokens."""
    below: int
    """Number of classes below `low`."""
    above: int
    """Number of classes above the last direct token."""

    @property
    def num_tokens(self) -> int:
        """Size of the alphabet."""
        return self.below + self.size + self.above

    @property
    def raw_bits(self) -> NDArray[np.int64]:
        """Raw bits behind each token, `[num_tokens]`."""
        return np.concatenate(
            [
                np.arange(self.below)[::-1] // 4,
                np.zeros(self.size, np.int64),
                np.arange(self.above) // 4,
            ]
        ).astype(np.int64)


def max_direct(items: int) -> int:
    """Most direct tokens of a column of this many items."""
    return min(MAX_TOKENS, max(FEW_TOKENS, 2 * items))


def classes(distance: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The class of each distance e >= 0 outside the direct tokens."""
    shifted = distance + np.uint64(4)
    # frexp rounds to 53 bits and can reach the next power of two; the shift tells.
    k = np.frexp(shifted.astype(np.float64))[1].astype(np.int64) - 3
    k -= (shifted >> (k + 2).astype(np.uint64)) == 0
    return 4 * k + (shifted >> k.astype(np.uint64)).astype(np.int64) - 4


def alphabet_of(low_value: int, high_value: int, low: int, size: int) -> Alphabet:
    """The alphabet with these direct tokens whose classes reach from `low_value` to `high_value`.

    The direct tokens have to touch the values: low_value <= low + size and high_value >= low - 1.
    """
    reach = np.array([max(0, low - low_value), max(0, high_value - (low + size) + 1)], np.uint64)
    below, above = classes(np.maximum(reach, 1) - np.uint64(1)) + 1
    return Alphabet(low, size, int(below) if reach[0] else 0, int(above) if reach[1] else 0)


def to_tokens(
    values: NDArray[np.int64], alphabet: Alphabet
) -> tuple[NDArray[np.uint16], NDArray[np.uint64]]:
    """Tokens `[n]` of int64 values, and the distances of those that are not direct, in order."""
    offsets = values - alphabet.low
    tokens = (offsets + alphabet.below).astype(np.uint16)
    if not alphabet.below and not alphabet.above:
        return tokens, np.zeros(0, np.uint64)
    outside = np.flatnonzero((offsets < 0) | (offsets >= alphabet.size))
    far = offsets[outside]
    down = far < 0
    distances = np.where(down, -1 - far, far - alphabet.size).astype(np.uint64)
    kind = classes(distances)
    tokens[outside] = np.where(
        down, alphabet.below - 1 - kind, alphabet.below + alphabet.size + kind
    ).astype(np.uint16)
    return tokens, distances


def far_values(
    tokens: NDArray[np.uint16], alphabet: Alphabet, raw: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """The values of tokens that stand for classes, and of their raw bits."""
    far = tokens.astype(np.int64)
    down = far < alphabet.below
    kind = np.where(down, alphabet.below - 1 - far, far - alphabet.below - alphabet.size)
    shifted = (kind % 4 + 4).astype(np.uint64) << (kind // 4).astype(np.uint64) | raw
    distances = shifted.astype(np.int64) - 4
    return np.where(down, alphabet.low - 1 - distances, alphabet.low + alphabet.size + distances)


def outside_tokens(tokens: NDArray[np.uint16], alphabet: Alphabet) -> NDArray[np.int64]:
    """Positions of the tokens that stand for classes."""
    # Below the direct tokens the difference wraps around to large numbers.
    return np.flatnonzero(tokens - np.uint16(alphabet.below) >= np.uint16(alphabet.size))


def pack_raw(values: NDArray[np.uint64], widths: NDArray[np.int64]) -> bytes:
    """The lowest `widths[i]` <= 62 bits of each value one after the other, lowest bit first."""
    ends = np.cumsum(widths)
    total = int(ends[-1]) if len(ends) else 0
    if total == 0:
        return b""
    starts = ends - widths
    words = np.zeros(total // 64 + 2, np.uint64)
    shift = (starts % 64).astype(np.uint64)
    values = values & ((np.uint64(1) << widths.astype(np.uint64)) - np.uint64(1))
    np.bitwise_or.at(words, starts // 64, values << shift)
    # A shift by 64 is undefined, so the upper part moves in two steps.
    np.bitwise_or.at(words, starts // 64 + 1, values >> np.uint64(1) >> (np.uint64(63) - shift))
    return words.astype("<u8").tobytes()[: (total + 7) // 8]


def unpack_raw(data: bytes, widths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The inverse of `pack_raw`; `data` holds at least the sum of `widths` bits."""
    ends = np.cumsum(widths)
    starts = ends - widths
    total = int(ends[-1]) if len(ends) else 0
    padded = data + bytes(8 * (total // 64 + 2) - len(data))
    words = np.frombuffer(padded, "<u8").astype(np.uint64, copy=False)
    shift = (starts % 64).astype(np.uint64)
    lower, upper = words[starts // 64] >> shift, words[starts // 64 + 1]
    values = lower | upper << np.uint64(1) << (np.uint64(63) - shift)
    return values & ((np.uint64(1) << widths.astype(np.uint64)) - np.uint64(1))


class RawBits:
    """The raw bits at the end of a file, taken column by column.

    Raises:
        CodecError: By `of` and `finish`, where the data does not end with them.
    """

    def __init__(self, data: bytes, offset: int) -> None:
        self._data, self._start, self._bit = data, offset, 0

    @property
    def offset(self) -> int:
        """Where the bits not yet taken begin."""
        return self._start + self._bit // 8

    def of(self, tokens: NDArray[np.uint16], alphabet: Alphabet) -> NDArray[np.uint64]:
        """Raw bits of tokens that stand for classes, in order."""
        widths = alphabet.raw_bits[tokens]
        first, skipped = divmod(self._bit, 8)
        total = skipped + int(widths.sum())
        begin = self._start + first
        end = begin + (total + 7) // 8
        if end > len(self._data):
            raise CodecError(f"raw bits end at byte {end}", offset=len(self._data))
        self._bit += total - skipped
        section = self._data[begin:end]
        return unpack_raw(section, np.concatenate([[skipped], widths]).astype(np.int64))[1:]

    def finish(self) -> None:
        """Raise unless the section was read to its end."""
        end = self._start + (self._bit + 7) // 8
        if end != len(self._data):
            raise CodecError("bytes behind the raw bits", offset=end)
        if self._bit % 8 and self._data[end - 1] >> self._bit % 8:
            raise CodecError("the padding is not zero", offset=end - 1)
