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
_MIDDLE_RADIUS = (NORMAL_RADIUS + FEATURE_RADIUS) / 2
GRID_REACH = 3.0
"""Voxels up to which a place knows its nearest point."""


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
    colors: NDArray[np.float32] | None
    """[n, 3] means of the colors, where the cloud has any."""

    @cached_property
    def tree(self) -> Any:
        """The k-d tree of `points`."""
        return kernels().KdTree(self.points)

    @cached_property
    def lists(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """(offsets, indices, squared distances) of the neighbors within `FEATURE_RADIUS`."""
        return self.tree.within(self.points, FEATURE_RADIUS * self.voxel, _MOST_NEIGHBORS)

    @cached_property
    def _shapes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        radii = np.array([NORMAL_RADIUS, _MIDDLE_RADIUS, FEATURE_RADIUS]) * self.voxel
        return kernels().shapes(self.points, *self.lists, radii.astype(np.float32))

    @property
    def normals(self) -> NDArray[np.float32]:
        """[n, 3], on the side away from the mass of the neighborhood; zero where unknown."""
        return self._shapes[0]

    @property
    def eigenvalues(self) -> NDArray[np.float32]:
        """[n, 3 radii, 3] ascending eigenvalues of the neighborhoods' covariances."""
        return self._shapes[1]

    @cached_property
    def histograms(self) -> NDArray[np.float32]:
        """[n, 33] fast point-feature histograms."""
        return kernels().histograms(self.points, self.normals, *self.lists)

    @cached_property
    def grid(self) -> Any:
        """Nearest points by one look-up, up to `GRID_REACH` voxels away."""
        reach = GRID_REACH * self.voxel
        return kernels().NearestGrid(self.points, self.normals, self.voxel / 2, reach)


def prepare(
    points: NDArray[np.float64],
    units: Units,
    voxel: float,
    *,
    colors: NDArray[np.float32] | None = None,
) -> Prepared:
    """Thin a cloud to one mean per voxel and drop the voxels that clutter alone would fill."""
    local = (points - units.origin).astype(np.float32)
    low = local.min(axis=0) - np.float32(voxel / 2)
    order, starts, around = kernels().voxel_groups(local, low, voxel)
    counts = np.diff(starts)
    expected = np.array([1.0, 27.0]) * units.density * voxel**3
    own, wide = clutter_limit(expected)
    kept = (counts >= own) & (around >= wide)
    if counts[kept].sum() < _LEAST_SURFACE * len(local):
        kept[:] = True  # the cloud fills its volume: there is no surface to tell from clutter
    sums = np.add.reduceat(local[order].astype(np.float64), starts[:-1], axis=0)
    means = (sums[kept] / counts[kept, None]).astype(np.float32)
    shades = None
    if colors is not None:
        sums = np.add.reduceat(colors[order], starts[:-1], axis=0)
        shades = (sums[kept] / counts[kept, None]).astype(np.float32)
    return Prepared(means, voxel, shades)
