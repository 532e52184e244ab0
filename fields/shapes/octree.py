"""An octree as sorted Morton keys, in plain torch.

A level of depth d divides the box [-1, 1]^3 into 2^d cells per side and holds those that a point
lies in. A key interleaves the bits of the cell's x, y and z (x lowest) below the number of the
shape in the batch, so that one sorted list serves a whole batch, a cell's parent is its key shifted
by three bits, and any cell is found by binary search.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

MAX_DEPTH = 10
"""Finest level; 3 * 10 bits of place leave 33 bits for the batch."""

_SPREAD = ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249))


def morton_keys(cells: Int[Tensor, "*n 3"]) -> Int[Tensor, "*n"]:
    """Interleaved bits of cells in [0, 2^10); x takes the lowest bit."""
    spread = cells.long()
    for shift, mask in _SPREAD:
        spread = (spread | spread << shift) & mask
    x, y, z = spread.unbind(-1)
    return x | y << 1 | z << 2


def morton_cells(keys: Int[Tensor, "*n"]) -> Int[Tensor, "*n 3"]:
    """The cells of keys below 2^30: the inverse of `morton_keys`."""
    compact = torch.stack([keys, keys >> 1, keys >> 2], dim=-1) & _SPREAD[-1][1]
    steps = [(2, _SPREAD[2][1]), (4, _SPREAD[1][1]), (8, _SPREAD[0][1]), (16, 0x3FF)]
    for shift, mask in steps:
        compact = (compact | compact >> shift) & mask
    return compact


@dataclass(frozen=True)
class Level:
    """The occupied cells of one depth, over a batch."""

    depth: int
    """Cells per side: 2^depth."""
    keys: Int[Tensor, "n"]
    """Sorted keys, shape number above the place."""
    num_shapes: int
    """Shapes in the batch."""

    @property
    def cells(self) -> Int[Tensor, "n 3"]:
        """Place of each cell, in [0, 2^depth)."""
        return morton_cells(self.keys & ((1 << 3 * self.depth) - 1))

    @property
    def shapes(self) -> Int[Tensor, "n"]:
        """Which shape each cell belongs to."""
        return self.keys >> 3 * self.depth

    @property
    def centers(self) -> Float[Tensor, "n 3"]:
        """Middle of each cell in the box."""
        return (self.cells.float() + 0.5) * (2.0 / 2**self.depth) - 1

    def find(self, keys: Int[Tensor, "*m"]) -> Int[Tensor, "*m"]:
        """Row of each key, -1 where its cell is not occupied."""
        place = torch.searchsorted(self.keys, keys).clamp(max=max(len(self.keys) - 1, 0))
        if len(self.keys) == 0:
            return torch.full_like(keys, -1)
        return torch.where(self.keys[place] == keys, place, -1)

    def neighbors(self) -> Int[Tensor, "n 27"]:
        """Rows of the cells around each, itself in the middle; -1 where none or outside.

        Column 9 (dx + 1) + 3 (dy + 1) + dz + 1 holds the neighbor at (dx, dy, dz).
        """
        steps = torch.tensor([-1, 0, 1], device=self.keys.device)
        offsets = torch.cartesian_prod(steps, steps, steps)
        places = self.cells[:, None] + offsets
        valid = ((places >= 0) & (places < 2**self.depth)).all(-1)
        keys = morton_keys(places.clamp(0, 2**self.depth - 1))
        found = self.find(keys + (self.shapes << 3 * self.depth)[:, None])
        return torch.where(valid, found, -1)

    def parent(self) -> tuple[Level, Int[Tensor, "n"]]:
        """The level above, and the row of each cell's parent in it."""
        keys, rows = torch.unique_consecutive(self.keys >> 3, return_inverse=True)
        return Level(self.depth - 1, keys, self.num_shapes), rows


def level_of(points: Float[Tensor, "n 3"], depth: int) -> tuple[Level, Int[Tensor, "n"]]:
    """The cells that points of one shape lie in, and the row of each point's cell.

    Points outside of the box count to its outermost cells.
    """
    if not 1 <= depth <= MAX_DEPTH:
        raise ValueError(f"`depth` must be in [1, {MAX_DEPTH}], got {depth}.")
    side = 2**depth
    cells = ((points + 1) * (side / 2)).floor().long().clamp(0, side - 1)
    keys, rows = torch.unique(morton_keys(cells), return_inverse=True)
    return Level(depth, keys, 1), rows


def leaf_features(
    points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], depth: int
) -> tuple[Level, Float[Tensor, "m 7"]]:
    """Leaves of an octree and what each knows of the surface inside.

    Seven channels, in cells: mean unit normal (3), signed displacement of the mean point along it
    from the cell's middle (1), and the mean point's offset from the middle (3). The first four are
    the leaf features of the O-CNN family (Wang et al., SIGGRAPH 2017; Adaptive O-CNN, 2018).
    """
    level, rows = level_of(points, depth)
    count = torch.zeros(len(level.keys)).index_add_(0, rows, torch.ones(len(rows)))[:, None]
    mean = torch.zeros(len(level.keys), 3).index_add_(0, rows, points.float()) / count
    normal = torch.zeros(len(level.keys), 3).index_add_(0, rows, normals.float())
    normal = torch.nn.functional.normalize(normal, dim=1)
    offset = (mean - level.centers) * (2.0**depth / 2)
    displacement = (offset * normal).sum(1, keepdim=True)
    return level, torch.cat([normal, displacement, offset], dim=1)


def batched(levels: list[Level]) -> Level:
    """Single shapes as one level; rows follow one another."""
    depths = {level.depth for level in levels}
    if len(depths) != 1:
        raise ValueError(f"`levels` must have one depth, got {sorted(depths)}.")
    [depth] = depths
    keys = torch.cat([level.keys + (i << 3 * depth) for i, level in enumerate(levels)])
    return Level(depth, keys, len(levels))
