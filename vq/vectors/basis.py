"""The directions that rows are expanded in, at three prices.

`FullBasis` stores the KLT's directions. `ProductBasis` is for rows that are tables, such as
spherical harmonics times color channels: directions are products of one direction per side, so
that d = m k dimensions take m² + k² numbers, or none where a side is a fixed cosine transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contract import CodecError
from ..entropy.bits import read_varint, write_varint
from ..transforms.dct import dct
from .integers import pack_integers, unpack_integers

MAX_BITS = 14
FIXED_BITS = 10
"""Fractional bits of the fixed cosine side."""


@dataclass(frozen=True)
class FullBasis:
    """Any directions."""

    rows: NDArray[np.int32]
    """[r, d] integers: directions times 2^bits."""
    bits: int
    """Fractional bits of `rows`."""

    def to_bytes(self) -> bytes:
        """Bits and rank, then the rows."""
        return bytes([self.bits]) + write_varint(len(self.rows)) + pack_integers(self.rows)

    @classmethod
    def read(cls, data: bytes, offset: int, shape: tuple[int, int]) -> tuple[FullBasis, int]:
        """The basis at `offset` for rows of `shape`, and the offset behind it."""
        bits, rank, offset = _read_head(data, offset, shape)
        rows, offset = unpack_integers(data, offset, rank, shape[0] * shape[1])
        return cls(rows, bits), offset


@dataclass(frozen=True)
class ProductBasis:
    """Products of one direction per side."""

    left: NDArray[np.int32] | None
    """[m, m] integers, directions times 2^left_bits; None for the cosine transform."""
    right: NDArray[np.int32] | None
    """[k, k], likewise."""
    factor_bits: int
    """Fractional bits of the sides that are stored."""
    order: NDArray[np.int32]
    """[r], which products: i k + j is left direction i times right direction j."""
    shape: tuple[int, int]
    """(m, k)."""

    @property
    def rows(self) -> NDArray[np.int32]:
        """[r, m k] integers."""
        sides = [_side(*pair)[0] for pair in zip((self.left, self.right), self.shape, strict=True)]
        return np.kron(sides[0], sides[1])[self.order].astype(np.int32)

    @property
    def bits(self) -> int:
        """Fractional bits of `rows`."""
        return sum(FIXED_BITS if s is None else self.factor_bits for s in (self.left, self.right))

    def to_bytes(self) -> bytes:
        """Bits (with a flag per fixed side), rank, order, then the sides that are stored."""
        fixed = 16 * (self.left is None) + 32 * (self.right is None)
        head = bytes([self.factor_bits | fixed]) + write_varint(len(self.order))
        sides = [pack_integers(s) for s in (self.left, self.right) if s is not None]
        return head + pack_integers(self.order[:, None]) + b"".join(sides)

    @classmethod
    def read(cls, data: bytes, offset: int, shape: tuple[int, int]) -> tuple[ProductBasis, int]:
        """The basis at `offset` for rows of `shape`, and the offset behind it."""
        start = offset
        flags = data[offset] >> 4 if offset < len(data) else 0
        bits, rank, offset = _read_head(data, offset, shape)
        order, offset = unpack_integers(data, offset, rank, 1)
        if rank and not 0 <= order.min() <= order.max() < shape[0] * shape[1]:
            raise CodecError("a direction that does not exist", offset=start)
        sides: list[NDArray[np.int32] | None] = []
        for length, fixed in zip(shape, (flags & 1, flags & 2), strict=True):
            side = None
            if not fixed:
                side, offset = unpack_integers(data, offset, length, length)
            sides.append(side)
        return cls(sides[0], sides[1], bits, order[:, 0], shape), offset


Basis = FullBasis | ProductBasis
KINDS: tuple[type[Basis], ...] = (FullBasis, ProductBasis)
"""As numbered in files."""


def _side(stored: NDArray[np.int32] | None, length: int) -> tuple[NDArray[np.int32], int]:
    if stored is not None:
        return stored, 0
    return dct(length, bits=FIXED_BITS).rows, FIXED_BITS


def _read_head(data: bytes, offset: int, shape: tuple[int, int]) -> tuple[int, int, int]:
    """Bits, rank and the offset behind them."""
    if offset >= len(data):
        raise CodecError("a basis is cut off", offset=offset)
    bits = data[offset] & 15
    rank, behind = read_varint(data, offset + 1)
    if bits > MAX_BITS or rank > shape[0] * shape[1]:
        raise CodecError(f"a basis of {rank} directions with {bits} bits", offset=offset)
    return bits, rank, behind
