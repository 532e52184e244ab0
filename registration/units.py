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
_SAMPLE = 20_000
_SIGMAS = 3.0
_FILLED = 0.6


@dataclass(frozen=True)
class Units:
    """What a cloud's own extent and density say."""

    origin: NDArray[np.float64]
    """[3], the middle of the cloud, subtracted before anything is rounded to float32."""
    points: NDArray[np.float32]
    """[n, 3] the cloud about `origin`, without points absurdly far away."""
    kept: NDArray[np.bool_] | None
    """[N] which points of the cloud those are; None for all."""
    spread: NDArray[np.float64]
    """[3] standard deviations along the principal axes, ascending."""
    extent: float
    """Length of the diagonal of the box along those axes."""
    density: float
    """Points per volume of that box: of clutter that fills it, at most."""
    sizes: NDArray[np.float64]
    """Voxel sizes, each twice the one before."""
    counts: NDArray[np.int32]
    """Voxels of each size that hold more points than clutter alone would put there."""

    def voxel(self, wanted: int = SURFACE_VOXELS) -> float:
        """Edge at which about so many voxels hold surface: where log(count) over log(size) passes
        log(wanted), from the coarse end."""
        # A sparse cloud never fills so many: below this share its voxels hold single points.
        wanted = min(wanted, int(_FILLED * self.counts.max()))
        above = max((i for i, count in enumerate(self.counts) if count > wanted), default=0)
        if above + 1 == len(self.counts):
            return float(self.sizes[above])
        a, b = np.log(np.maximum(self.counts[above : above + 2], 1))
        share = (a - np.log(max(wanted, 1))) / max(a - b, 1e-12)
        return float(self.sizes[above] * 2.0 ** np.clip(share, 0, 1))


def measure(points: NDArray[np.float64]) -> Units:
    """The units of a cloud of at least 3 distinct points; those of moved and scaled copies move and
    scale with it, up to the alignment of the voxel grid."""
    step = max(1, len(points) // _SAMPLE)
    origin = np.median(points[::step], axis=0)
    local = (points - origin).astype(np.float32)
    squared = np.einsum("ij,ij->i", local, local)
    limit = _FAR**2 * max(float(np.median(squared[::step])), 1e-30)
    kept = None if float(squared.max()) <= limit else squared <= limit
    if kept is not None:
        local = local[kept]
    sample = local[::step].astype(np.float64)
    values, directions = np.linalg.eigh(np.cov(sample.T))
    along = np.ascontiguousarray((local @ directions.astype(np.float32)).T)
    sides = (along.max(axis=1) - along.min(axis=1)).astype(np.float64)
    extent = float(np.linalg.norm(sides))
    density = len(local) / float(np.prod(np.maximum(sides, extent / 100)))
    columns = np.ascontiguousarray(local.T)
    low, high = columns.min(axis=1), columns.max(axis=1)
    finest = float((high - low).max()) / 2**_LEVELS * 1.0001
    sizes = (finest * 2.0 ** np.arange(_LEVELS)).astype(np.float64)
    needed = np.ceil(clutter_limit(density * sizes**3)).astype(np.int32)
    counts = kernels().voxel_counts(local, low, finest, needed)
    spread = np.sqrt(np.maximum(values, 0))
    return Units(origin, local, kept, spread, extent, density, sizes, counts)


def clutter_limit(expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points that a place must hold where clutter alone would put `expected` (Poisson)."""
    return np.maximum(expected + _SIGMAS * np.sqrt(expected), 1e-9)
