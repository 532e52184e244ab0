"""Bits in bytes, lowest bit of each byte first: how headers and tables are written.

Three codes for whole numbers n >= 0 are used:

- `varint`: bytes of seven bits, lowest first, the highest bit set on all but the last.
- `golomb(k)`, the exponential Golomb code of order k: with m = n + 2^k of b bits, b - 1 - k one
  bits, a zero bit, then the lowest b - 1 bits of m.
- `rice(k)`: n >> k one bits, a zero bit, then the lowest k bits of n.

Signed numbers are folded first: 0, -1, 1, -2, ... become 0, 1, 2, 3, ...
"""

from __future__ import annotations

from ..contract import CodecError

LONGEST_RUN = 64
"""More one bits in a row than any encoder writes: `golomb` holds numbers below 2^64."""
LONGEST_RICE_RUN = 1 << 12
"""Most one bits of a `rice` code."""


def fold(number: int) -> int:
    """A signed number as one that is not: 0, -1, 1, -2, ... to 0, 1, 2, 3, ..."""
    return 2 * number if number >= 0 else -2 * number - 1


def unfold(number: int) -> int:
    """The inverse of `fold`."""
    return number >> 1 if number % 2 == 0 else -(number >> 1) - 1


def write_varint(number: int) -> bytes:
    """`number` >= 0 in groups of seven bits."""
    data = bytearray()
    while number >= 128:
        data.append(number & 127 | 128)
        number >>= 7
    data.append(number)
    return bytes(data)


def read_varint(data: bytes, offset: int) -> tuple[int, int]:
    """The number at `offset` and the offset behind it.

    Raises:
        CodecError: The data ends inside the number, or it has 64 bits or more.
    """
    number = 0
    for at in range(offset, offset + 9):
        if at >= len(data):
            raise CodecError("the data ends inside a number", offset=at)
        number |= (data[at] & 127) << 7 * (at - offset)
        if data[at] < 128:
            return number, at + 1
    raise CodecError("a number has more than 63 bits", offset=offset)


class BitWriter:
    """Collects bits; `to_bytes` pads the last byte with zeros."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._rest = 0
        self._count = 0

    def bits(self, value: int, count: int) -> None:
        """The lowest `count` bits of `value`."""
        self._rest |= (value & (1 << count) - 1) << self._count
        self._count += count
        whole = self._count // 8
        self._data += (self._rest & (1 << 8 * whole) - 1).to_bytes(whole, "little")
        self._rest >>= 8 * whole
        self._count -= 8 * whole

    def golomb(self, number: int, order: int = 0) -> None:
        """`number` >= 0 in the exponential Golomb code of this order."""
        shifted = number + (1 << order)
        extra = shifted.bit_length() - 1 - order
        self.bits((1 << extra) - 1, extra + 1)
        self.bits(shifted, extra + order)

    def rice(self, number: int, order: int) -> None:
        """`number` >= 0 in the Rice code of this order."""
        self.bits((1 << (number >> order)) - 1, (number >> order) + 1)
        self.bits(number, order)

    def to_bytes(self) -> bytes:
        """Everything written so far."""
        return bytes(self._data) + (bytes([self._rest]) if self._count else b"")


class BitReader:
    """Reads what `BitWriter` wrote, from byte `offset` of `data` on.

    Raises:
        CodecError: By every method, where the data ends or holds a number out of bounds.
    """

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._position = 8 * offset

    @property
    def offset(self) -> int:
        """The first byte of which no bit was read."""
        return (self._position + 7) // 8

    def fail(self, message: str) -> CodecError:
        """An error that names the byte read last; to be raised by the caller."""
        return CodecError(message, offset=max(0, self.offset - 1))

    def bits(self, count: int) -> int:
        """The next `count` bits as a number, lowest first."""
        first, shift = divmod(self._position, 8)
        last = first + (shift + count + 7) // 8
        if last > len(self._data):
            raise CodecError("the data ends inside a table", offset=len(self._data))
        self._position += count
        return int.from_bytes(self._data[first:last], "little") >> shift & (1 << count) - 1

    def _ones(self, limit: int) -> int:
        run = 0
        while self.bits(1):
            run += 1
            if run > limit:
                raise self.fail(f"a number starts with more than {limit} one bits")
        return run

    def golomb(self, order: int = 0) -> int:
        """A number in the exponential Golomb code of this order."""
        extra = self._ones(LONGEST_RUN - order)
        return (1 << extra + order | self.bits(extra + order)) - (1 << order)

    def rice(self, order: int) -> int:
        """A number in the Rice code of this order."""
        run = self._ones(LONGEST_RICE_RUN)
        return run << order | self.bits(order)
