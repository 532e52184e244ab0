"""Linear changes of coordinates whose inverse gives the same bits on every machine."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..contract import CodecError
from .exact import exact_product, to_integers

_HEAD = struct.Struct("<BBHH")
_VERSION = 1
MAX_DIM = 4096
"""Longest rows that `from_bytes` accepts."""


@dataclass(frozen=True)
class LinearTransform:
    """x = mean + c @ rows / 2^bits, with integer `rows`.

    The inverse multiplies integers exactly and rounds once per step, so that it depends on no
    library's order of summation. The forward direction is least squares in the norm `metric`,
    whatever rounding did to the rows.
    """

    rows: NDArray[np.int32]
    """[r, d] integers, r <= d; the directions times 2^bits."""
    bits: int
    """Fractional bits of `rows`, 0 to 20."""
    mean: NDArray[np.float32]
    """[d], what zero coefficients stand for."""
    metric: NDArray[np.float64] | None = None
    """[d, d], positive semidefinite: how much errors matter. Not stored: the forward direction of
    a transform from bytes uses the identity, which None stands for."""

    @classmethod
    def of(
        cls,
        directions: NDArray[np.floating],
        *,
        mean: NDArray[np.floating] | None = None,
        bits: int = 14,
        metric: NDArray[np.floating] | None = None,
    ) -> LinearTransform:
        """Round `directions [r, d]` to `bits` fractional bits; no `mean` is zero."""
        rows = np.round(np.ldexp(np.asarray(directions, dtype=np.float64), bits)).astype(np.int32)
        middle = np.zeros(rows.shape[1]) if mean is None else np.asarray(mean)
        weights = None if metric is None else np.asarray(metric, dtype=np.float64)
        return cls(rows, bits, middle.astype(np.float32), weights)

    @property
    def rank(self) -> int:
        """Number of coefficients."""
        return len(self.rows)

    def truncated(self, rank: int) -> LinearTransform:
        """The first `rank` directions."""
        return replace(self, rows=self.rows[:rank])

    @cached_property
    def analysis(self) -> NDArray[np.float64]:
        """[d, r]: (x - mean) @ analysis are the coefficients of x."""
        directions = np.ldexp(self.rows.astype(np.float64), -self.bits)
        weighted = directions if self.metric is None else directions @ self.metric
        gram = weighted @ directions.T
        return np.asarray((np.linalg.pinv(gram, hermitian=True) @ weighted).T, dtype=np.float64)

    def forward(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Coefficients [n, r] of the rows [n, d]."""
        if x.ndim != 2 or x.shape[1] != self.rows.shape[1]:
            raise ValueError(f"`x` must be [n, {self.rows.shape[1]}], got {list(x.shape)}.")
        centered = np.asarray(x, dtype=np.float32) - self.mean
        return (centered @ self.analysis.astype(np.float32)).astype(np.float32)

    def inverse(self, coefficients: NDArray[np.floating]) -> NDArray[np.float32]:
        """Rows [n, d] of coefficients [n, r], which count to 24 bits of the largest of them."""
        return self.inverse_integers(*to_integers(np.asarray(coefficients)))

    def inverse_integers(self, units: NDArray[np.integer], step: float) -> NDArray[np.float32]:
        """Rows [n, d] of the coefficients `units * step`."""
        if units.ndim != 2 or units.shape[1] != self.rank:
            raise ValueError(f"`units` must be [n, {self.rank}], got {list(units.shape)}.")
        product = exact_product(units, self.rows)
        return (product * (step * 2.0**-self.bits)).astype(np.float32) + self.mean

    def to_bytes(self) -> bytes:
        """Version, bits, r and d, the mean as float32, and the rows as int16 or int32."""
        rank, dim = self.rows.shape
        wide = bool(self.rows.size) and int(np.abs(self.rows).max()) > 32767
        head = _HEAD.pack(_VERSION, self.bits | 128 * wide, rank, dim)
        rows = self.rows.astype("<i4" if wide else "<i2").tobytes()
        return head + self.mean.astype("<f4").tobytes() + rows

    @classmethod
    def from_bytes(cls, data: bytes) -> LinearTransform:
        """What `to_bytes` wrote.

        Raises:
            CodecError: It did not write this.
        """
        if len(data) < _HEAD.size:
            raise CodecError("a transform is cut off", offset=len(data))
        version, bits, rank, dim = _HEAD.unpack_from(data)
        wide, bits = bits >> 7, bits & 127
        if version != _VERSION or bits > 20 or not rank <= dim <= MAX_DIM:
            raise CodecError("no transform that this version knows", offset=0)
        size = _HEAD.size + 4 * dim + (4 if wide else 2) * rank * dim
        if len(data) != size:
            raise CodecError(f"a transform of {size} bytes, {len(data)} are there", offset=0)
        mean = np.frombuffer(data, "<f4", dim, _HEAD.size).astype(np.float32)
        rows = np.frombuffer(data, "<i4" if wide else "<i2", offset=_HEAD.size + 4 * dim)
        return cls(rows.astype(np.int32).reshape(rank, dim), bits, mean)
