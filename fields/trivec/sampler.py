"""Samples inside the occupied cells of leaves: the definition of what the kernel visits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..rays import Rays
from ..samples import Samples
from .field import MASK_SIDE, TrivecField

_NUDGE = 1e-6
"""Share of the root's side by which rays step over faces."""


@dataclass(frozen=True)
class OctreeSampler:
    """A `Sampler` that divides each ray's way through a leaf into equal parts."""

    field: TrivecField
    """Whose leaves and masks."""
    step: float
    """Longest part, as a share of the leaf's side."""

    def sample(self, rays: Rays, *, jitter: torch.Generator | None = None) -> Samples:
        """One sample per part that lies in an occupied cell, all at the same share of their part:
        a random one of each ray under `jitter`, else the middle."""
        shares = torch.full((len(rays),), 0.5)
        if jitter is not None:
            shares = torch.rand(len(rays), generator=jitter)
        return self.at(rays, shares)

    def at(self, rays: Rays, shares: Float[Tensor, "R"]) -> Samples:
        """The samples at given shares of their parts."""
        found = [self._piece(rays, shares, *piece) for piece in self._pieces(rays)]
        if not found:
            nothing = torch.zeros(0)
            return Samples(nothing, nothing, torch.zeros(len(rays) + 1, dtype=torch.long))
        ray, middle, length = (torch.cat(part) for part in zip(*found, strict=True))
        order = torch.argsort(ray, stable=True)
        counts = torch.bincount(ray, minlength=len(rays))
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        middle, length = middle[order], length[order]
        return Samples(middle - 0.5 * length, middle + 0.5 * length, offsets)

    def _pieces(self, rays: Rays) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Ray, leaf, entry and exit of all rays' ways through leaves, each ray's in order."""
        octree = self.field.octree
        root = torch.stack([octree.low, octree.low + octree.side])
        t, leave = rays.box_span(root)
        nudge, found = _NUDGE * octree.side, []
        active = (t + nudge < leave).nonzero().flatten()
        while len(active):
            begin = t[active]
            part = rays[active]
            points = part.origins + (begin + nudge)[:, None] * part.directions
            leaves, low, side = _descend(self.field, points)
            _, end = _span(part, low, side)
            end = torch.maximum(torch.minimum(end, leave[active]), begin + nudge)
            hit = leaves >= 0
            found.append((active[hit], leaves[hit], begin[hit], end[hit]))
            t[active] = end
            active = active[end + nudge < leave[active]]
        return found

    def _piece(
        self, rays: Rays, shares: Tensor, ray: Tensor, leaves: Tensor, begin: Tensor, end: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ray, distance and length of the samples of one piece per ray."""
        octree = self.field.octree
        sides = octree.sides[leaves]
        counts = ((end - begin) / (self.step * sides)).ceil().clamp(min=1).long()
        length = (end - begin) / counts
        row = torch.arange(len(ray)).repeat_interleave(counts)
        number = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
        middle = begin[row] + (number + shares[ray][row]) * length[row]
        points = rays.origins[ray][row] + middle[:, None] * rays.directions[ray][row]
        local = ((points - octree.lows[leaves][row]) / sides[row][:, None]).clamp(0, 1)
        cell = (local * MASK_SIDE).long().clamp(max=MASK_SIDE - 1)
        bit = 16 * cell[:, 0] + 4 * cell[:, 1] + cell[:, 2]
        keep = (self.field.masks[leaves][row] >> bit & 1).bool()
        return ray[row][keep], middle[keep], length[row][keep]


def _descend(
    field: TrivecField, points: Float[Tensor, "n 3"]
) -> tuple[Int64[Tensor, "n"], Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Leaf (-1 for none) at points of the root, and the node they end in."""
    octree, children = field.octree, field.octree.children
    low = octree.low.expand(points.shape).clone()
    side = torch.full((len(points),), octree.side)
    node = torch.zeros(len(points), dtype=torch.long)
    going = torch.ones(len(points), dtype=torch.bool)
    while bool(going.any()):
        half = side / 2
        upper = (points >= low + half[:, None]) & going[:, None]
        low = low + upper * half[:, None]
        side = torch.where(going, half, side)
        octant = 4 * upper[:, 0] + 2 * upper[:, 1] + 1 * upper[:, 2]
        below = children[node.clamp(min=0), octant].long()
        node = torch.where(going, below, node)
        going = node >= 0
    return -2 - node, low, side


def _span(
    rays: Rays, low: Float[Tensor, "n 3"], side: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Distances at which rays enter and leave a cube each."""
    small = rays.directions.abs() < 1e-20
    inverse = 1 / torch.where(small, torch.full_like(rays.directions, 1e-20), rays.directions)
    a = (low - rays.origins) * inverse
    b = (low + side[:, None] - rays.origins) * inverse
    return torch.minimum(a, b).amax(1).clamp(min=0), torch.maximum(a, b).amin(1)
