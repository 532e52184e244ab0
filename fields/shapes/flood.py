"""Which side of a leaky surface is out: a flood from the corners of a lattice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from .bvh import MeshIndex

RESOLUTION = 256
"""Cells per side of the box [-1, 1]^3; its half cell is the smallest gap that still leaks."""
_COARSE = 32


@dataclass(frozen=True)
class Flood:
    """The interior of a surface that has no reliable sign, by what a flood cannot reach."""

    inside: Bool[np.ndarray, "r r r"]
    """Cells that the flood did not reach and that are no walls."""
    wall: Bool[np.ndarray, "r r r"]
    """Cells whose center lies within half a cell of the surface."""

    @property
    def cell(self) -> float:
        """Side of a cell in box units."""
        return 2.0 / len(self.wall)

    def contains(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        """Whether points farther than a cell from the surface lie inside.

        The nearest of the eight surrounding centers that is no wall decides: the ball around the
        point that the surface does not enter holds it. Points outside of the box are outside.
        """
        size = len(self.wall)
        position = (points + 1) / self.cell - 0.5
        base = np.floor(position).astype(np.int64)
        best = np.full(len(points), np.inf)
        found = np.zeros(len(points), bool)
        for corner in np.ndindex(2, 2, 2):
            cell = base + corner
            gap = ((position - cell) ** 2).sum(1)
            valid = ((cell >= 0) & (cell < size)).all(1)
            i, j, k = np.clip(cell, 0, size - 1).T
            better = valid & ~self.wall[i, j, k] & (gap < best)
            best = np.where(better, gap, best)
            found = np.where(better, self.inside[i, j, k], found)
        return found


def flood(index: MeshIndex, *, resolution: int = RESOLUTION) -> Flood:
    """Label the lattice of `resolution` cells per side.

    Neighboring centers are one cell apart, so a step across the surface would have one end within
    half a cell of it: a wall. Holes wider than a cell leak, and what they open is outside.

    Args:
        index: The mesh, normalized to the box.
        resolution: Cells per side, a power of two times 32.
    """
    wall = np.zeros((resolution,) * 3, bool)
    cells = np.stack(np.meshgrid(*[np.arange(_COARSE)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    size = _COARSE
    while True:
        side = 2.0 / size
        distances = index.closest((cells + 0.5) * side - 1).distances
        if size >= resolution:
            break
        near = cells[distances <= np.sqrt(3) / 2 * side + 0.5 * (2.0 / resolution)]
        cells = (2 * near[:, None] + np.array(list(np.ndindex(2, 2, 2)))).reshape(-1, 3)
        size *= 2
    i, j, k = cells[distances <= 0.5 * side].T
    wall[i, j, k] = True
    labels = np.zeros(wall.shape, np.int32)
    ndimage.label(~wall, output=labels)
    outside = np.unique(
        np.concatenate([labels.take(end, axis).ravel() for end in (0, -1) for axis in range(3)])
    )
    reached = np.zeros(int(labels.max()) + 1, bool)
    reached[outside] = True
    reached[0] = True  # walls
    return Flood(inside=~reached[labels], wall=wall)
