"""Gaussians grouped into blocks of neighbors that lie close together."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

from .contract import Source


def all_means(source: Source) -> Float[ndarray, "N 3"]:
    """The means of a whole source, 12 bytes per Gaussian."""
    means = np.empty((source.num_primitives, 3), np.float32)
    start = 0
    for chunk in source.chunks():
        means[start : start + len(chunk)] = chunk.means.numpy()
        start += len(chunk)
    return means


def block_order(means: Float[ndarray, "N 3"], size: int) -> Int64[ndarray, "N"]:
    """The order in which every run of `size` points is a compact block.

    Points are halved at a multiple of `size` along the longest side of their box until a run is
    left (a k-d tree), so that a stray point stretches its own block only and no block spans a
    jump, as happens along a space-filling curve.
    """
    order = np.arange(len(means), dtype=np.int64)
    waiting = [(0, len(means))]
    while waiting:
        start, stop = waiting.pop()
        blocks = -(-(stop - start) // size)
        if blocks <= 1:
            continue
        part = order[start:stop]
        points = means[part]
        axis = int((points.max(0).astype(np.float64) - points.min(0)).argmax())
        middle = blocks // 2 * size
        order[start:stop] = part[np.argpartition(points[:, axis], middle)]
        waiting += [(start, start + middle), (start + middle, stop)]
    return order
