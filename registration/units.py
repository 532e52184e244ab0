"""Lengths that a cloud chooses by itself: its box, the voxel it is thinned with, its clutter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .kernels import kernels

SURFACE_VOXELS = 5000
"""Occupied voxels at the working size: more cost time without finding more, and fewer leave small
shared parts without features."""

_FAR = 40.0  # times the median distance from the middle: no scan reaches as far
_LEVELS = 12
_SIGMAS = 3.0
_FILLED = 0.6


@dataclass(frozen=True)
class Units:
    """What a cloud's own extent and density say."""

    origin: NDArray[np.float64]
    """[3], the middle of the cloud, subtracted before anything is rounded to float32."""
    extent: float
    """Length of the diagonal of the box along the principal axes."""
    density: float
    """Points per volume of that box: of clutter that fills it, at most."""
    voxel: float
    """Edge at which about `SURFACE_VOXELS` voxels hold surface."""


def measure(points: NDArray[np.float64], *, voxels: int = SURFACE_VOXELS) -> Units:
    """The units of a cloud of at least 3 distinct points; equal for moved and scaled copies up to
    the alignment of the voxel grid."""
    origin = np.median(points, axis=0)
    local = inner(points - origin).astype(np.float32)
    directions = np.linalg.eigh(np.cov(local.T.astype(np.float64)))[1]
    sides = np.ptp(local @ directions.astype(np.float32), axis=0).astype(np.float64)
    extent = float(np.linalg.norm(sides))
    density = len(local) / max(float(np.prod(np.maximum(sides, extent / 100))), 1e-300)
    low = local.min(axis=0)
    finest = float(np.ptp(local, axis=0).max()) / 2**_LEVELS * 1.0001
    sizes = finest * 2.0 ** np.arange(_LEVELS)
    needed = np.ceil(clutter_limit(density * sizes**3)).astype(np.int32)
    counts = kernels().voxel_counts(local, low, finest, needed)
    return Units(origin, extent, density, _size_for(sizes, counts, voxels))


def clutter_limit(expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points that a place must hold where clutter alone would put `expected` (Poisson)."""
    return np.maximum(expected + _SIGMAS * np.sqrt(expected), 1e-9)


def inner(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points around the origin without those absurdly far from it."""
    distances = np.linalg.norm(points, axis=1)
    limit = _FAR * max(float(np.median(distances)), 1e-300)
    return points if distances.max() <= limit else points[distances <= limit]


def _size_for(sizes: NDArray[np.float64], counts: NDArray[np.int32], wanted: int) -> float:
    """Where log(count) over log(size) passes log(wanted), from the coarse end."""
    # A sparse cloud never fills so many: below this share its voxels hold single points.
    wanted = min(wanted, int(_FILLED * counts.max()))
    above = max((i for i in range(len(counts)) if counts[i] > wanted), default=0)
    if above + 1 == len(counts):
        return float(sizes[above])
    a, b = np.log(counts[above]), np.log(max(counts[above + 1], 1))
    share = (a - np.log(wanted)) / max(a - b, 1e-12)
    return float(sizes[above] * 2.0**share)
