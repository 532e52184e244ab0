"""Codebooks of 256 numbers for values that a SOG file stores in one byte each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 256
_ITERATIONS = 200
_BINS = 1 << 12
_SPREAD_SHARE = 32


def fit_codebook(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """256 ascending numbers that stand for `values` with the least squared error.

    Lloyd's iteration on the sorted values, where a step costs 256 binary searches. It starts from
    the optimum for many levels, whose density is the cube root of the values' density.
    At most 256 different values come back exactly. Evenly spread values worth 3 % of all are mixed
    in, so that a few far out are not left to levels that serve the many.

    Reference: Panter and Dite, "Quantization distortion in pulse-count modulation with nonuniform
    spacing of levels", Proceedings of the IRE 39(1), 1951.
    """
    ordered = np.sort(values, axis=None).astype(np.float64)
    starts = np.flatnonzero(np.diff(ordered, prepend=np.nan) != 0)
    if len(starts) <= LEVELS:
        distinct = ordered[starts]
        filler = np.full(LEVELS - len(distinct), distinct[-1])
        return np.concatenate([distinct, filler]).astype(np.float32)
    spread = np.linspace(ordered[0], ordered[-1], max(LEVELS, len(ordered) // _SPREAD_SHARE))
    ordered = np.sort(np.concatenate([ordered, spread]))
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    levels = _start(ordered)
    for _ in range(_ITERATIONS):
        edges = np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(ordered)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        moved = np.where(counts > 0, means, levels)
        if np.array_equal(moved, levels):
            break
        levels = moved
    return np.sort(levels).astype(np.float32)


def _start(ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles of the cube root of the density of sorted values."""
    counts, edges = np.histogram(ordered, _BINS)
    mass = np.concatenate([[0.0], np.cumsum(np.cbrt(counts))])
    return np.interp((np.arange(LEVELS) + 0.5) / LEVELS * mass[-1], mass, edges)


def nearest_levels(values: NDArray[np.floating], levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Index of the nearest of 256 ascending `levels` for each value, in the shape of `values`."""
    middles = (levels[1:].astype(np.float64) + levels[:-1]) / 2
    return np.searchsorted(middles.astype(np.float32), values).astype(np.uint8)
