"""Changes of the set of leaves: which are empty, which are halved, where new ones grow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from .field import FULL_MASK, MASK_SIDE, TrivecField
from .octree import MAX_LEVEL, Octree, cell_keys
from .renderer import lattice_densities

_LATTICE = 2 * MASK_SIDE + 1
"""Points along each side of a leaf that its density is looked at: three per cell, shared."""


def occupancy_masks(field: TrivecField, *, min_alpha: float) -> Int64[Tensor, "N"]:
    """Bits of the cells where something is or may grow.

    A cell counts where the opacity of a node's width reaches `min_alpha` at one of its points or at
    a point of a neighbouring cell of the same leaf.
    """
    width = field.octree.sides / (field.num_nodes - 1)
    alphas = -torch.expm1(-lattice_densities(field, _LATTICE) * width[:, None, None, None])
    cells = F.max_pool3d(alphas[:, None], 3, stride=2)
    cells = F.max_pool3d(cells, 3, stride=1, padding=1)
    bits = (cells.flatten(1) >= min_alpha).long()
    return (bits << torch.arange(MASK_SIDE**3)).sum(dim=1)


def subdivided(field: TrivecField, chosen: Bool[Tensor, "N"]) -> TrivecField:
    """The same field with the chosen leaves halved along all axes.

    Nothing changes: a child's nodes lie on its parent's nodes and half-way between them, where the
    interpolation is linear. Children stand behind the leaves that stay.
    """
    chosen = chosen & (field.octree.levels < MAX_LEVEL)
    parents = chosen.nonzero().flatten().repeat_interleave(8)
    octant = torch.arange(8).repeat(len(parents) // 8)
    upper = torch.stack([octant >> 2, octant >> 1 & 1, octant & 1], dim=1)
    tree = field.octree
    children = Octree(
        tree.low,
        tree.side,
        tree.levels[parents] + 1,
        2 * tree.cells[parents] + upper,
    )
    halves = _halves(field.vectors)
    axes = torch.arange(3)
    vectors = halves[parents[:, None], axes, upper]
    masks = torch.full((len(parents),), FULL_MASK)
    split = TrivecField(
        children,
        vectors,
        field.densities[parents],
        field.colors[parents],
        masks,
        field.ranks[parents],
        field.unit,
        field.shift,
    )
    return joined(field.subset(~chosen), split)


def _halves(vectors: Float[Tensor, "N 3 D R"]) -> Float[Tensor, "N 3 2 D R"]:
    """Values at the nodes of both halves of each axis."""
    nodes = vectors.shape[2]
    at = torch.arange(2 * nodes - 1) * 0.5
    low = at.long().clamp(max=nodes - 2)
    share = (at - low)[:, None]
    fine = vectors[:, :, low] + share * (vectors[:, :, low + 1] - vectors[:, :, low])
    return torch.stack([fine[:, :, :nodes], fine[:, :, nodes - 1 :]], dim=2)


def joined(first: TrivecField, second: TrivecField) -> TrivecField:
    """The leaves of two fields over the same root."""
    names = ("vectors", "densities", "colors", "masks", "ranks")
    parts = {name: torch.cat([getattr(first, name), getattr(second, name)]) for name in names}
    return replace(first, octree=_both(first.octree, second.octree), **parts)


@dataclass(frozen=True)
class Start:
    """How components begin: close to constant, different enough to part ways."""

    mean: float = 0.4
    """Of the vectors' values."""
    spread: float = 0.2
    """Their standard deviation."""
    weight: float = 0.1
    """Standard deviation of the weights."""


def fresh(
    tree: Octree,
    *,
    rank: int,
    nodes: int,
    sh_degree: int,
    unit: float,
    generator: torch.Generator,
    start: Start | None = None,
) -> TrivecField:
    """A faint field with random components in the leaves of `tree`."""
    start = start or Start()
    n, bases = len(tree), (sh_degree + 1) ** 2

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    colors = start.weight * normal(n, bases, 3, rank)
    colors[:, 1:] = 0
    return TrivecField(
        tree,
        start.mean + start.spread * normal(n, 3, nodes, rank),
        start.weight * normal(n, rank),
        colors,
        torch.full((n,), FULL_MASK),
        torch.full((n,), rank, dtype=torch.uint8),
        unit,
    )


def missing_neighbors(field: TrivecField) -> Octree:
    """Leaves that are not there but touch an occupied cell of one that is, of the same size."""
    tree, found = field.octree, []
    grid = (field.masks[:, None] >> torch.arange(MASK_SIDE**3) & 1).bool()
    grid = grid.view(-1, MASK_SIDE, MASK_SIDE, MASK_SIDE)
    for axis in range(3):
        for side in (0, -1):
            touches = grid.select(axis + 1, side).flatten(1).any(1)
            cells = tree.cells[touches].clone()
            cells[:, axis] += 1 if side else -1
            levels = tree.levels[touches]
            inside = (cells >= 0).all(1) & (cells < 2 ** levels[:, None]).all(1)
            found.append(torch.cat([levels[:, None], cells], dim=1)[inside])
    wanted = torch.unique(torch.cat(found), dim=0)
    return free_leaves(tree, Octree(tree.low, tree.side, wanted[:, 0], wanted[:, 1:]))


def free_leaves(tree: Octree, candidates: Octree) -> Octree:
    """Those candidates that overlap neither leaves of `tree` nor larger candidates."""
    taken, chosen = tree, []
    for level in torch.unique(candidates.levels).tolist():
        layer = candidates.subset(candidates.levels == level)
        layer = layer.subset(taken.locate(layer.lows + 0.5 * layer.sides[:, None]) < 0)
        deeper = taken.levels >= level
        above = taken.cells[deeper] >> (taken.levels[deeper] - level)[:, None]
        layer = layer.subset(~torch.isin(cell_keys(layer.cells), cell_keys(above)))
        chosen.append(layer)
        taken = _both(taken, layer)
    nothing = tree.subset(torch.zeros(0, dtype=torch.long))
    for layer in chosen:
        nothing = _both(nothing, layer)
    return nothing


def _both(first: Octree, second: Octree) -> Octree:
    return Octree(
        first.low,
        first.side,
        torch.cat([first.levels, second.levels]),
        torch.cat([first.cells, second.cells]),
    )
