"""Cubes of many sizes that do not overlap, found by their position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from vq.sets.morton import morton_order

MAX_LEVEL = 16
"""Deepest leaves: a 65,536th of the root's side."""

EMPTY = -1


@dataclass(frozen=True)
class Octree:
    """N leaves of a cube that is halved along all axes again and again."""

    low: Float[Tensor, "3"]
    """Lower corner of the root's cube, world units, float32."""
    side: float
    """Its side, world units."""
    levels: Int64[Tensor, "N"]
    """How often the root was halved to get each leaf, 1 to `MAX_LEVEL`."""
    cells: Int64[Tensor, "N 3"]
    """Position of each leaf (x, y, z) in units of its own side."""

    def __post_init__(self) -> None:
        if not self.side > 0 or not bool(torch.isfinite(self.low).all()):
            raise ValueError(
                f"`low` must be finite and `side` positive, got {self.low.tolist()}, {self.side}."
            )
        if len(self.levels) == 0:
            return
        if not 1 <= int(self.levels.min()) <= int(self.levels.max()) <= MAX_LEVEL:
            raise ValueError(f"`levels` must be 1 to {MAX_LEVEL}.")
        if bool((self.cells < 0).any()) or bool((self.cells >= 2 ** self.levels[:, None]).any()):
            raise ValueError("`cells` must lie inside the root, 0 to 2 ** level - 1.")

    def __len__(self) -> int:
        return len(self.levels)

    @cached_property
    def sides(self) -> Float[Tensor, "N"]:
        """Side of each leaf, world units."""
        return self.side / 2.0 ** self.levels.float()

    @cached_property
    def lows(self) -> Float[Tensor, "N 3"]:
        """Lower corner of each leaf, world units."""
        return self.low + self.cells.float() * self.sides[:, None]

    @cached_property
    def bounds(self) -> Float[Tensor, "2 3"]:
        """Corners of the box that holds all leaves; the root's without any."""
        if len(self) == 0:
            return torch.stack([self.low, self.low + self.side])
        return torch.stack([self.lows.amin(0), (self.lows + self.sides[:, None]).amax(0)])

    @cached_property
    def children(self) -> Int32[Tensor, "M 8"]:
        """The inner nodes, the root first: what is in octant 4 x + 2 y + z of each.

        At least 0 is an inner node, -1 is nothing, and -2 - i is leaf i.

        Raises:
            ValueError: Two leaves overlap.
        """
        depth = int(self.levels.max()) if len(self) else 1
        found = [_Layer.of(self, level) for level in range(depth)]
        first = torch.tensor([0, *(len(layer) for layer in found)]).cumsum(0)
        table = torch.full((int(first[-1]) or 1, 8), EMPTY, dtype=torch.int32)
        filled = 0
        for level, layer in enumerate(found):
            if level + 1 < depth:
                below = found[level + 1].cells
                rows = first[level] + layer.index(below >> 1)
                table[rows, _octant(below)] = first[level + 1].int() + torch.arange(
                    len(below), dtype=torch.int32
                )
                filled += len(below)
            leaves = (self.levels == level + 1).nonzero().flatten()
            rows = first[level] + layer.index(self.cells[leaves] >> 1)
            table[rows, _octant(self.cells[leaves])] = -2 - leaves.int()
            filled += len(leaves)
        if int((table != EMPTY).sum()) != filled:
            raise ValueError("`cells` must not overlap: one leaf lies inside another, or twice.")
        return table

    def locate(self, points: Float[Tensor, "*batch 3"]) -> Int64[Tensor, "*batch"]:
        """The leaf at each point; -1 where there is none."""
        low, side = self.low.to(points).expand(points.shape).clone(), self.side
        inside = ((points >= low) & (points < low + side)).all(dim=-1)
        node = torch.zeros(points.shape[:-1], dtype=torch.long, device=points.device)
        children = self.children.to(points.device)
        depth = int(self.levels.max()) if len(self) else 1
        for _ in range(depth):
            side = side / 2
            upper = points >= low + side
            low = low + upper * side
            octant = 4 * upper[..., 0] + 2 * upper[..., 1] + 1 * upper[..., 2]
            below = children[node.clamp(min=0), octant].long()
            node = torch.where(node >= 0, below, node)
        return torch.where(inside, -2 - node.clamp(max=-1), -1)

    def subset(self, keep: Tensor) -> Octree:
        """The leaves chosen by flags or indices."""
        return Octree(self.low, self.side, self.levels[keep], self.cells[keep])

    def morton_order(self) -> Int64[Tensor, "N"]:
        """Leaves along a space-filling curve, for files and for the memory's sake."""
        deepest = int(self.levels.max()) if len(self) else 0
        corners = self.cells << (deepest - self.levels)[:, None]
        return torch.from_numpy(morton_order(corners.numpy()))


@dataclass(frozen=True)
class _Layer:
    """The inner nodes of one depth, by position."""

    cells: Int64[Tensor, "n 3"]
    keys: Int64[Tensor, "n"]

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, tree: Octree, level: int) -> _Layer:
        deeper = tree.levels > level
        cells = tree.cells[deeper] >> (tree.levels[deeper] - level)[:, None]
        keys = torch.unique(cell_keys(cells))
        if level == 0:
            keys = torch.zeros(1, dtype=torch.long)
        mask = (1 << 20) - 1
        return cls(torch.stack([keys >> 40, (keys >> 20) & mask, keys & mask], dim=1), keys)

    def index(self, cells: Int64[Tensor, "n 3"]) -> Int64[Tensor, "n"]:
        return torch.searchsorted(self.keys, cell_keys(cells))


def cell_keys(cells: Int64[Tensor, "n 3"]) -> Int64[Tensor, "n"]:
    """One number for each position, up to 2 ** 20 along each axis."""
    return (cells[:, 0] << 40) | (cells[:, 1] << 20) | cells[:, 2]


def _octant(cells: Int64[Tensor, "n 3"]) -> Int64[Tensor, "n"]:
    low = cells & 1
    return 4 * low[:, 0] + 2 * low[:, 1] + low[:, 2]
