"""A cloud made ready for registration: evenly thinned, with normals, features and indices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kernels import kernels
from .units import Units, clutter_limit

NORMAL_RADIUS = 3.5
"""Voxels around a point from which its normal is taken."""
FEATURE_RADIUS = 6.0
"""Voxels around a point that its histogram describes."""
_MOST_NEIGHBORS = 1000
_LEAST_SURFACE = 0.2
GRID_REACH = 3.0
"""Voxels up to which a place knows its nearest point."""
_GRID_CELL = 0.75


@dataclass(frozen=True)
class Prepared:
    """A cloud of one point per voxel, in its own centered frame.

    Thinning to one mean per voxel makes the sampling of two clouds of one surface alike, which
    both histograms and moments need.
    """

    points: NDArray[np.float32]
    """[n, 3], means of the points in each occupied voxel, about `Units.origin`."""
    voxel: float
    """Edge of the voxels."""
    radius: float = FEATURE_RADIUS
    """Voxels of the neighborhoods; `NORMAL_RADIUS` suffices where no features are needed."""

    @cached_property
    def tree(self) -> Any:
        """The k-d tree of `points`."""
        return kernels().KdTree(self.points)

    @cached_property
    def lists(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """(offsets, indices, squared distances) of the neighbors within `radius`."""
        return self.tree.within(self.points, self.radius * self.voxel, _MOST_NEIGHBORS)

    @cached_property
    def normals(self) -> NDArray[np.float32]:
        """[n, 3], on the side away from the mass of the neighborhood; zero where unknown."""
        return kernels().normals(self.points, *self.lists, NORMAL_RADIUS * self.voxel)

    @cached_property
    def histograms(self) -> NDArray[np.float32]:
        """[n, 33] fast point-feature histograms."""
        return kernels().histograms(self.points, self.normals, *self.lists)

    @cached_property
    def grid(self) -> Any:
        """Nearest points by one look-up, up to `GRID_REACH` voxels away."""
        reach = GRID_REACH * self.voxel
        return kernels().NearestGrid(self.points, self.normals, _GRID_CELL * self.voxel, reach)


def prepare(
    units: Units,
    voxel: float,
    *,
    radius: float = FEATURE_RADIUS,
) -> Prepared:
    """Thin a cloud to one mean per voxel and drop the voxels that clutter alone would fill.

    Args:
        units: Of the cloud.
        voxel: Edge of the voxels.
        radius: Of the neighborhoods, voxels.
    """
    local = units.points
    low = np.ascontiguousarray(local.T).min(axis=1) - np.float32(voxel / 2)
    order, starts, around = kernels().voxel_groups(local, low, voxel)
    counts = np.diff(starts)
    own, wide = clutter_limit(np.array([1.0, 27.0]) * units.density * voxel**3)
    kept = (counts >= own) & (around >= wide)
    if counts[kept].sum() < _LEAST_SURFACE * len(local):
        kept[:] = True  # the cloud fills its volume: there is no surface to tell from clutter
    means = _means(local, order, starts)[kept]
    return Prepared(means, voxel, radius)


def _means(
    rows: NDArray[np.float32], order: NDArray[np.int32], starts: NDArray[np.int32]
) -> NDArray[np.float32]:
    """[voxels, columns] means of the rows of each voxel."""
    sums = np.add.reduceat(rows[order].astype(np.float64), starts[:-1], axis=0)
    return (sums / np.diff(starts)[:, None]).astype(np.float32)
