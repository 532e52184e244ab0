"""Matrix products of integers, exact whatever the order of summation, threads or machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROWS = 1 << 14
_EXACT = 1 << 53
COEFFICIENT_BITS = 24
"""Floating coefficients are rounded to integers of this many bits and a sign, like float32."""


def exact_product(left: NDArray[np.integer], right: NDArray[np.integer]) -> NDArray[np.float64]:
    """`left [n, r] @ right [r, d]` of integers, as float64 that holds them exactly.

    A float64 product whose partial sums all stay below 2^53 rounds nowhere, so the fastest matrix
    product of any library gives the same bits.

    Raises:
        ValueError: A partial sum could reach 2^53.
    """
    largest = int(np.abs(left).max(initial=0))
    columns = np.abs(right).sum(0, dtype=np.float64)
    if largest * float(columns.max(initial=0)) >= _EXACT:
        raise ValueError(
            f"`left` reaches {largest:,} and a column of `right` sums to {columns.max():,.0f}: "
            "their product could pass 2^53; use fewer bits."
        )
    out = np.empty((len(left), right.shape[1]))
    factor = right.astype(np.float64)
    for begin in range(0, len(left), _ROWS):
        part = slice(begin, begin + _ROWS)
        np.matmul(left[part].astype(np.float64), factor, out=out[part])
    return out


def to_integers(coefficients: NDArray[np.floating]) -> tuple[NDArray[np.int64], float]:
    """Coefficients as integers below 2^24 and the power of two they count."""
    largest = float(np.abs(coefficients).max(initial=0))
    if largest == 0:
        return np.zeros(coefficients.shape, dtype=np.int64), 1.0
    if not np.isfinite(largest):
        raise ValueError("`coefficients` must be finite, got NaN or infinity.")
    unit = float(np.ldexp(1.0, int(np.frexp(largest)[1]) - COEFFICIENT_BITS))
    return np.round(coefficients / unit).astype(np.int64), unit
