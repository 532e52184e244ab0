"""What every coded array of integers starts with: version, type and shape.

One byte for the version, 1, plus 128 for a flag of the codec's; one byte for the type, an index
into `DTYPES`; one byte for the number of dimensions, at most 8; then each dimension as `varint`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import CodecError
from .bits import read_varint, write_varint
from .tokens import MAX_MAGNITUDE

VERSION = 1
"""Version of the bytes."""
FLAG = 128
"""Added to the version where the codec's flag is set."""
DTYPES = tuple(np.dtype(name) for name in ("bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"))
"""Types of arrays, as numbered in the file."""
MAX_DIMS = 8
"""Most dimensions of an array."""


@dataclass(frozen=True)
class Header:
    """Type and shape of a coded array."""

    dtype: np.dtype[Any]
    """One of `DTYPES`."""
    shape: tuple[int, ...]
    """At most 8 lengths."""
    flag: bool
    """What the codec makes of it."""

    @property
    def size(self) -> int:
        """Number of items."""
        return math.prod(self.shape)

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest value of the type."""
        if self.dtype.kind == "b":
            return 0, 1
        limits = np.iinfo(self.dtype)
        return int(limits.min), int(limits.max)

    @staticmethod
    def of(symbols: NDArray[Any], *, flag: bool = False) -> Header:
        """The header of an array that can be coded.

        Raises:
            ValueError: The array has another type, too many dimensions, or values out of range.
        """
        dtype = symbols.dtype.newbyteorder("=")
        if dtype not in DTYPES:
            raise ValueError(f"`symbols` must be integers or bool, got {symbols.dtype}.")
        if symbols.ndim > MAX_DIMS:
            raise ValueError(
                f"`symbols` must have at most {MAX_DIMS} dimensions, got {symbols.ndim}."
            )
        if symbols.size and (
            int(symbols.max()) > MAX_MAGNITUDE or int(symbols.min()) < -MAX_MAGNITUDE
        ):
            raise ValueError(
                f"`symbols` must lie within 2^60, got {symbols.min()} to {symbols.max()}."
            )
        return Header(dtype, symbols.shape, flag)

    def to_bytes(self) -> bytes:
        """The header as the file holds it."""
        first = bytes([VERSION | FLAG * self.flag, DTYPES.index(self.dtype), len(self.shape)])
        return first + b"".join(write_varint(length) for length in self.shape)

    @staticmethod
    def read(data: bytes, max_items: int) -> tuple[Header, int]:
        """The header at the start of `data`, and the offset behind it.

        Raises:
            CodecError: It is malformed or claims more than `max_items` items.
        """
        if len(data) < 3:
            raise CodecError("the data ends inside the header", offset=len(data))
        version, kind, ndim = data[:3]
        if version & ~FLAG != VERSION:
            raise CodecError(f"version {version & ~FLAG}, expected {VERSION}", offset=0)
        if kind >= len(DTYPES):
            raise CodecError(f"unknown type {kind}", offset=1)
        if ndim > MAX_DIMS:
            raise CodecError(f"{ndim} dimensions, at most {MAX_DIMS} allowed", offset=2)
        offset, shape = 3, []
        for _ in range(ndim):
            length, offset = read_varint(data, offset)
            shape.append(length)
        # Zeros count as ones, so that an empty array cannot claim absurd lengths either.
        if math.prod(max(1, length) for length in shape) > max_items:
            raise CodecError(f"shape {shape} exceeds the limit of {max_items} items", offset=offset)
        return Header(DTYPES[kind], tuple(shape), bool(version & FLAG)), offset
