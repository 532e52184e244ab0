"""Morton (Z-order) codes and orders of points on an integer lattice.

Sorting a set by Morton code makes neighbors in space neighbors in the list, and gives every set one
order, so that a code of the differences saves the log2(N!) bits that an arbitrary order costs.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Shaped, UInt32, UInt64

try:
    from vq import _native
except ImportError:
    _native = None

WORD_BITS = 21
"""Bits per axis in one code word of 63 bits."""
MAX_BITS = 42
"""Bits per axis in two words, the most that `morton_order` accepts."""

_SPREAD = (
    (32, 0x001F00000000FFFF),
    (16, 0x001F0000FF0000FF),
    (8, 0x100F00F00F00F00F),
    (4, 0x10C30C30C30C30C3),
    (2, 0x1249249249249249),
)  # each step doubles the gap between the bits
_COMPACT = (*(mask for _, mask in reversed(_SPREAD[:-1])), 0x1FFFFF)


def morton_codes(points: Shaped[np.ndarray, "n 3"]) -> UInt64[np.ndarray, "n"]:
    """Interleaved bits of each point; x takes the lowest bit, then y, then z.

    Args:
        points: Integers in [0, 2^21).

    Raises:
        ValueError: A coordinate lies outside.
    """
    _check(points, WORD_BITS)
    if _native is not None:
        codes = np.empty(len(points), dtype=np.uint64)
        _native.morton_codes(np.ascontiguousarray(points, dtype=np.uint32), codes)
        return codes
    return _interleaved(points.astype(np.uint64))


def morton_points(codes: UInt64[np.ndarray, "n"]) -> UInt32[np.ndarray, "n 3"]:
    """The points of Morton codes: the inverse of `morton_codes`."""
    shifts = np.arange(3, dtype=np.uint64)
    compact = codes[:, None] >> shifts & np.uint64(_SPREAD[-1][1])
    for (shift, _), mask in zip(reversed(_SPREAD), _COMPACT, strict=True):
        compact = (compact | compact >> np.uint64(shift)) & np.uint64(mask)
    return compact.astype(np.uint32)


def morton_order(points: Shaped[np.ndarray, "n 3"]) -> Int[np.ndarray, "n"]:
    """The permutation that sorts points by Morton code; equal points keep their order.

    Args:
        points: Integers in [0, 2^42).

    Raises:
        ValueError: A coordinate lies outside.
    """
    _check(points, MAX_BITS)
    low = morton_codes(points & ((1 << WORD_BITS) - 1))
    if len(points) == 0 or int(points.max()) < 1 << WORD_BITS:
        return np.argsort(low, kind="stable")
    return np.lexsort((low, morton_codes(points >> WORD_BITS)))


def _check(points: Shaped[np.ndarray, "n 3"], bits: int) -> None:
    if not np.issubdtype(points.dtype, np.integer):
        raise ValueError(f"`points` must be integers, got {points.dtype}.")
    if points.size and (int(points.min()) < 0 or int(points.max()) >= 1 << bits):
        raise ValueError(
            f"`points` must lie in [0, 2^{bits}), got {points.min()} to {points.max()}; "
            "subtract the smallest coordinate."
        )


def _interleaved(points: UInt64[np.ndarray, "n 3"]) -> UInt64[np.ndarray, "n"]:
    """The twin of the kernel."""
    spread = points
    for shift, mask in _SPREAD:
        spread = (spread | spread << np.uint64(shift)) & np.uint64(mask)
    return spread[:, 0] | spread[:, 1] << np.uint64(1) | spread[:, 2] << np.uint64(2)
