"""Convolutions over positions and orientations, with weights shared between equivalent pairs.

Reference: Bekkers et al., "Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in
Position-Orientation Space", ICLR 2024 (PONITA).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .neighborhoods import gather, nearest, relative

_DEGREE = 3
_SHARPNESS = 6


def grid_orientations(count: int) -> Float[Tensor, "O 3"]:
    """Nearly uniform unit vectors (a Fibonacci lattice): orientations shared by all points."""
    n = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * n / count
    turn = torch.pi * (1 + 5**0.5) * n
    across = (1 - z.square()).sqrt()
    return torch.stack([across * turn.cos(), across * turn.sin(), z], dim=-1).float()


def edge_orientations(
    vectors: Float[Tensor, "*batch n K 3"], count: int
) -> Float[Tensor, "*batch n O 3"]:
    """Directions to the `count` nearest neighbors: they turn exactly with the cloud."""
    near = vectors[..., :count, :]
    return near / near.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def pair_invariants(
    vectors: Float[Tensor, "*batch n K 3"], orientations: Float[Tensor, "*batch n O 3"]
) -> Float[Tensor, "*batch n K O 2"]:
    """(r.o, |r - (r.o) o|): along and across the receiving point's orientations."""
    along = torch.einsum("...kc,...oc->...ko", vectors, orientations)
    square = vectors.square().sum(-1)[..., None] - along.square()
    return torch.stack([along, (square.clamp_min(0) + 1e-12).sqrt()], dim=-1)


class KernelBasis(nn.Module):
    """Features of invariants from which kernels are read: an MLP on polynomials of degree 3."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        size = sum(inputs**degree for degree in range(1, _DEGREE + 1))
        self.layers = nn.Sequential(
            nn.Linear(size, width), nn.GELU(), nn.Linear(width, width), nn.GELU()
        )

    def forward(self, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch D"]:
        """Features of each pair."""
        powers, found = x, [x]
        for _ in range(_DEGREE - 1):
            powers = (powers[..., :, None] * x[..., None, :]).flatten(-2)
            found.append(powers)
        return self.layers(torch.cat(found, dim=-1))


class PonitaBlock(nn.Module):
    """Spatial kernel, fiber kernel, then ConvNeXt's norm, widening and layer scale."""

    def __init__(self, channels: int, basis: int) -> None:
        super().__init__()
        self.spatial = nn.Linear(basis, channels, bias=False)
        self.fiber = nn.Linear(basis, channels, bias=False)
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.layer_scale = nn.Parameter(torch.full((channels,), 0.1))

    def forward(
        self,
        h: Float[Tensor, "*batch n O C"],
        index: Int[Tensor, "*batch n K"],
        spatial: Float[Tensor, "*batch n K O B"],
        fiber: Float[Tensor, "*batch n K O P B"],
    ) -> Float[Tensor, "*batch n O C"]:
        """`fiber` relates the receiver's orientation O to the sender's P, for every edge."""
        o, c = h.shape[-2:]
        sent = gather(h.flatten(-2), index).unflatten(-1, (o, c))
        turned = torch.einsum("...opc,...pc->...oc", self.fiber(fiber), sent) / o
        received = (self.spatial(spatial) * turned).mean(dim=-3)
        return h + self.layer_scale * self.mix(self.norm(received))


class PonitaBackbone(nn.Module):
    """Invariant point features by convolutions over positions and orientations.

    With `grid` the orientations are those of one lattice, as published: equivariant up to its
    coarseness. Without, each point uses the directions to its nearest neighbors: exact.
    """

    def __init__(
        self,
        channels: int = 32,
        *,
        k: int = 12,
        num_orientations: int = 6,
        depth: int = 2,
        radius: float | None = None,
        grid: bool = False,
    ) -> None:
        super().__init__()
        self.k, self.radius, self.channels = k, radius, channels
        self.num_orientations, self.grid = num_orientations, grid
        self.spatial_basis, self.fiber_basis = KernelBasis(2, 32), KernelBasis(1, 32)
        self.start = nn.Linear(1, channels)
        self.blocks = nn.ModuleList(PonitaBlock(channels, 32) for _ in range(depth))
        self.out = nn.Linear(channels, channels)

    def forward(self, points: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n C"]:
        """Mean over the orientations of each point."""
        index = nearest(points, self.k)
        vectors = relative(points, index, self.radius)
        orientations = self._orientations(vectors)
        spatial = self.spatial_basis(pair_invariants(vectors, orientations))
        spatial = spatial * _cutoff(vectors, self.radius)[..., None, None]
        o = orientations.shape[-2]
        theirs = gather(orientations.flatten(-2), index).unflatten(-1, (o, 3))
        cosines = torch.einsum("...oc,...kpc->...kop", orientations, theirs)
        fiber = self.fiber_basis(cosines[..., None])
        # What a point sees of its own neighborhood along each orientation, to begin with.
        lifted = torch.einsum("...kc,...oc->...ko", vectors, orientations).mean(dim=-2)
        h = self.start(lifted[..., None])
        for block in self.blocks:
            h = block(h, index, spatial, fiber)
        return self.out(h.mean(dim=-2))

    def _orientations(self, vectors: Tensor) -> Tensor:
        if self.grid:
            grid = grid_orientations(self.num_orientations).to(vectors)
            return grid.expand(*vectors.shape[:-2], -1, -1)
        return edge_orientations(vectors, self.num_orientations)


def _cutoff(vectors: Tensor, radius: float | None) -> Tensor:
    """The polynomial envelope of DimeNet: 1 at the center, 0 with three derivatives at the edge.

    Without a radius neighborhoods end at the farthest neighbor.
    """
    lengths = vectors.norm(dim=-1)
    edge = lengths[..., -1:].clamp_min(1e-12) * 1.05 if radius is None else 1.0
    u = (lengths / edge).clamp(max=1.0)
    p = _SHARPNESS
    return (
        1
        - (p + 1) * (p + 2) / 2 * u**p
        + p * (p + 2) * u ** (p + 1)
        - p * (p + 1) / 2 * u ** (p + 2)
    )
