"""Nearest earlier points: the surroundings that a decoder has already seen."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int32, UInt32

try:
    from vq import _native
except ImportError:
    _native = None


def earlier_neighbors(points: UInt32[np.ndarray, "n 3"], k: int) -> Int32[np.ndarray, "n k"]:
    """Row i holds the k nearest of points 0 to i - 1 to point i, nearest first.

    Args:
        points: Coordinates below 2^30, best in Morton order (any order is correct, but slower).
        k: At least 1.

    Returns:
        Indices; exact by squared distance, the later point first where distances tie, and -1 where
        there are fewer than k earlier points.
    """
    found = np.full((len(points), k), -1, dtype=np.int32)
    if _native is not None:
        _native.earlier_neighbors(np.ascontiguousarray(points), found)
        return found
    signed = points.astype(np.int64)
    for i in range(len(points)):
        squared = ((signed[:i] - signed[i]) ** 2).sum(1)
        nearest = np.lexsort((-np.arange(i), squared))[:k]
        found[i, : len(nearest)] = nearest
    return found
