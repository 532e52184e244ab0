"""Cubes of one size on a lattice, and which of them cover a point with which share.

A cube is centered in its cell of the lattice and a little larger than it. Along each axis its share
is 1 in the middle and falls to 0 towards both faces by 3 s^2 - 2 s^3 where a neighbor's rises, so
that shares of neighbors sum to 1: nothing has to be divided by their sum, nothing depends on the
unit of length, and where a neighbor is missing the cube fades out. Every function of shares is
continuous, and no more than two cubes meet along an axis.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from ..kernels import native_for
from ..samplers.bricks import BRICK, BrickGrid
from ..tensors import LocalPairs


@dataclass(frozen=True)
class Lattice:
    """Cells of a cube-shaped region, equally wide."""

    low: Float[Tensor, "3"]
    """Lower corner of cell (0, 0, 0), world units."""
    pitch: float
    """Side of a cell, world units."""
    resolution: int
    """Cells along each axis, a multiple of 8."""
    overlap: float
    """Side of a cube in cells, above 1 and at most 2."""

    @classmethod
    def around(cls, box: Float[Tensor, "2 3"], pitch: float, overlap: float) -> Lattice:
        """Cells that fill a cube-shaped box, one more on every side."""
        count = int(-(-float(box[1, 0] - box[0, 0]) // pitch)) + 2
        return cls(box[0] - pitch, pitch, -(-count // BRICK) * BRICK, overlap)

    def covering(
        self, points: Float[Tensor, "P 3"]
    ) -> tuple[Int64[Tensor, "P 8 3"], Float[Tensor, "P 8 3"], Float[Tensor, "P 8"]]:
        """The cells whose cubes may cover each point, x slowest, with coordinates in the cubes in
        [0, 1] and shares; shares are 0 for those that do not."""
        half, zone = 0.5 * self.overlap, self.overlap - 1
        at = (points - self.low) / self.pitch
        own = at.floor()
        other = own + torch.where(at - own < 0.5, -1.0, 1.0)
        cells = torch.stack([torch.minimum(own, other), torch.maximum(own, other)], dim=1)
        offset = at[:, None] - (cells + 0.5)
        share = ((half - offset.abs()) / zone).clamp(0, 1)
        share = share.square() * (3 - 2 * share)
        local = (offset + half) / self.overlap
        pick = torch.tensor(list(itertools.product((0, 1), repeat=3)))
        axes = torch.arange(3)
        return (
            cells[:, pick, axes].long(),
            local[:, pick, axes],
            share[:, pick, axes].prod(dim=-1),
        )

    def cells_of(self, points: Float[Tensor, "P 3"]) -> Int64[Tensor, "N 3"]:
        """All cells whose cubes cover a point, each once, in the order of x, y, z."""
        cells, _, shares = self.covering(points)
        cells = cells[shares > 0]
        inside = ((cells >= 0) & (cells < self.resolution)).all(dim=1)
        return torch.unique(cells[inside], dim=0)


@dataclass(frozen=True)
class Cubes:
    """N cubes of a lattice."""

    lattice: Lattice
    """Where they may be."""
    cells: Int32[Tensor, "N 3"]
    """Where they are."""

    def __len__(self) -> int:
        return len(self.cells)

    @cached_property
    def grid(self) -> BrickGrid:
        """The cube in each cell."""
        cells = self.cells.long()
        return BrickGrid.build(cells, torch.arange(len(cells)), self.lattice.resolution)

    def pairs(self, points: Float[Tensor, "S 3"]) -> LocalPairs:
        """The cubes that cover points, those of one point in the order of their cells."""
        native = native_for(points)
        return self._twin(points) if native is None else self._search(native, points)

    def _search(self, native: ModuleType, points: Tensor) -> LocalPairs:
        lattice, grid, points = self.lattice, self.grid, points.contiguous()
        box = torch.cat([lattice.low, torch.tensor([lattice.pitch])])
        if len(grid.bricks) == 0:
            return self._twin(points)
        held = (points, grid.coarse, grid.bricks)
        side, half = lattice.resolution // BRICK, 0.5 * lattice.overlap
        inputs = (*(item.data_ptr() for item in held), side, box.data_ptr(), half)
        offsets = torch.zeros(len(points) + 1, dtype=torch.long)
        native.cubes_count(*inputs, offsets[1:].data_ptr(), len(points))
        offsets = offsets.cumsum(0)
        total = int(offsets[-1])
        cubes = torch.empty(total, dtype=torch.int32)
        local, weights = torch.empty(total, 3), torch.empty(total)
        out = (item.data_ptr() for item in (offsets, cubes, local, weights))
        native.cubes_write(*inputs, *out, len(points))
        return LocalPairs(offsets, cubes, local, weights)

    def _twin(self, points: Tensor) -> LocalPairs:
        """`_search` in plain torch: the definition of the kernel."""
        cells, local, shares = self.lattice.covering(points)
        cubes = self.grid.lookup(cells)
        keep = (cubes >= 0) & (shares > 0)
        counts = keep.sum(dim=1)
        return LocalPairs(
            torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
            cubes[keep].int(),
            local[keep],
            shares[keep],
        )


def coverage(pairs: LocalPairs) -> Float[Tensor, "S"]:
    """Sum of the shares of each sample: 1 inside of a set of cubes, 0 outside."""
    running = torch.cat([pairs.weights.new_zeros(1).double(), pairs.weights.double().cumsum(0)])
    return (running[pairs.offsets[1:]] - running[pairs.offsets[:-1]]).to(pairs.weights.dtype)
