"""Points in the order of a Hilbert curve: neighbors in the list are neighbors in space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 16
"""Cells per axis of the lattice on which the curve runs, as a power of two."""


def hilbert_order(points: NDArray[np.floating]) -> NDArray[np.int64]:
    """Indices [N] that sort points [N, 3] along a Hilbert curve through their bounding cube.

    Equal cells keep their order. The curve never jumps, unlike the Morton curve, so that images
    of the sorted points' attributes are smoother.

    Reference: Skilling, "Programming the Hilbert curve", AIP Conference Proceedings 707, 2004.
    """
    if len(points) == 0:
        return np.zeros(0, np.int64)
    low = points.min(0).astype(np.float64)
    extent = float((points.max(0) - low).max()) or 1.0
    cells = ((points - low) * ((2**BITS - 1) / extent)).astype(np.uint32)
    return np.argsort(_interleave(_transpose(cells.T.copy())), kind="stable")


def _transpose(axes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Skilling's transposed Hilbert index of lattice points; both are [3, N]."""
    for bit in range(BITS - 1, 0, -1):
        lower = np.uint32((1 << bit) - 1)
        for number in range(3):
            inverted = (axes[number] >> bit & 1).astype(bool)
            swapped = np.where(inverted, np.uint32(0), (axes[0] ^ axes[number]) & lower)
            axes[0] ^= np.where(inverted, lower, swapped)
            axes[number] ^= swapped
    axes[1] ^= axes[0]
    axes[2] ^= axes[1]
    flips = np.zeros_like(axes[0])
    for bit in range(BITS - 1, 0, -1):
        flips ^= np.where(axes[2] >> bit & 1, np.uint32((1 << bit) - 1), np.uint32(0))
    return axes ^ flips


def _interleave(axes: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """One number per point from the bits of its three, the first axis highest."""
    codes = np.zeros(axes.shape[1], np.uint64)
    for bit in range(BITS - 1, -1, -1):
        for axis in axes:
            codes = codes << np.uint64(1) | (axis >> bit & 1).astype(np.uint64)
    return codes
