"""A sparse grid: which item, if any, is in each cell of a box.

Cells are grouped into bricks of 8 x 8 x 8. A coarse table holds one number per brick, and only
bricks with content have a table of their 512 cells, so memory grows with the surface of a scene and
not with its volume: 600^3 cells of which one in a hundred bricks is used take 10 MB instead of 860.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

BRICK = 8
"""Cells along each side of a brick."""


@dataclass(frozen=True)
class BrickGrid:
    """Numbers of items by cell; -1 where there is none."""

    resolution: int
    """Cells along each axis of the box, a multiple of `BRICK`."""
    coarse: Int32[Tensor, "B B B"]
    """Index into `bricks`, -1 for an empty brick; axes are x, y, z."""
    bricks: Int32[Tensor, "M 8 8 8"]
    """Item in each cell, -1 for none."""

    @classmethod
    def build(
        cls, cells: Int64[Tensor, "N 3"], items: Int64[Tensor, "N"], resolution: int
    ) -> BrickGrid:
        """The grid with `items[i]` in cell `cells[i]` (x, y, z); of several, the last stays.

        Raises:
            ValueError: The resolution is no multiple of 8, or a cell lies outside.
        """
        if resolution < BRICK or resolution % BRICK:
            raise ValueError(f"`resolution` must be a multiple of {BRICK}, got {resolution}.")
        if len(cells) and not 0 <= int(cells.min()) <= int(cells.max()) < resolution:
            raise ValueError(
                f"`cells` must lie in [0, {resolution}), got {int(cells.min())} to "
                f"{int(cells.max())}; is the scene outside of its box?"
            )
        side = resolution // BRICK
        brick = cells // BRICK
        keys = (brick[:, 0] * side + brick[:, 1]) * side + brick[:, 2]
        used, which = torch.unique(keys, return_inverse=True)
        coarse = torch.full((side**3,), -1, dtype=torch.int32, device=cells.device)
        coarse[used] = torch.arange(len(used), dtype=torch.int32, device=cells.device)
        bricks = torch.full((len(used), BRICK**3), -1, dtype=torch.int32, device=cells.device)
        inner = cells % BRICK
        bricks[which, (inner[:, 0] * BRICK + inner[:, 1]) * BRICK + inner[:, 2]] = items.int()
        return cls(
            resolution,
            coarse.view(side, side, side),
            bricks.view(-1, BRICK, BRICK, BRICK),
        )

    @property
    def num_bytes(self) -> int:
        """Memory of both tables."""
        return self.coarse.nbytes + self.bricks.nbytes

    def lookup(self, cells: Int64[Tensor, "*batch 3"]) -> Int64[Tensor, "*batch"]:
        """Items in cells; -1 in empty ones and outside of the box."""
        inside = ((cells >= 0) & (cells < self.resolution)).all(dim=-1)
        cells = cells.clamp(0, self.resolution - 1)
        brick, inner = cells // BRICK, cells % BRICK
        index = self.coarse[brick[..., 0], brick[..., 1], brick[..., 2]].long()
        if len(self.bricks) == 0:
            return torch.full_like(index, -1)
        found = self.bricks[index.clamp(min=0), inner[..., 0], inner[..., 1], inner[..., 2]].long()
        return torch.where(inside & (index >= 0), found, -1)

    def locate(
        self, points: Float[Tensor, "*batch 3"], bounds: Float[Tensor, "2 3"]
    ) -> Int64[Tensor, "*batch"]:
        """Items at world positions, the grid filling the box `bounds`."""
        low, high = bounds.to(points)
        return self.lookup(((points - low) / (high - low) * self.resolution).floor().long())
