"""Attention over tuples of vectors through invariants of their geometric products.

Reference: Spellings, "Geometric Algebra Attention Networks for Small Point Clouds",
arXiv 2110.02393.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .neighborhoods import gather, nearest, relative

MultivectorParts = tuple[Tensor, Tensor, Tensor, Tensor]
"""Scalar [...], vector [..., 3], bivector as its dual axial vector [..., 3], trivector [...]."""


def times_vector(product: MultivectorParts, vector: Tensor) -> MultivectorParts:
    """The geometric product of a multivector with a vector from the right, in three dimensions.

    With a bivector B = I b: s v + (u.v + u ^ v) + B v + t I v, where u ^ v = I (u x v),
    I b v = -(b x v) + I (b.v) and I v is the bivector with dual v.
    """
    scalar, u, b, t = product
    return (
        (u * vector).sum(-1),
        scalar[..., None] * vector - torch.linalg.cross(b, vector, dim=-1),
        torch.linalg.cross(u, vector, dim=-1) + t[..., None] * vector,
        (b * vector).sum(-1),
    )


def product_invariants(vectors: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Invariants of all partial products of the vectors, and the vector part of the last one.

    One vector gives its length; a pair u v gives u.v and |u ^ v|; a triple the length of the vector
    part and the signed volume, which tells mirror images apart.
    """
    first = vectors[0]
    zero = torch.zeros_like(first[..., 0])
    product: MultivectorParts = (zero, first, torch.zeros_like(first), zero)
    found = [_length(first)]
    for number, vector in enumerate(vectors[1:], start=2):
        product = times_vector(product, vector)
        scalar, u, b, t = product
        found += [scalar, _length(b)] if number % 2 == 0 else [_length(u), t]
    odd = len(vectors) % 2 == 1
    # A product of an even number of vectors has no vector part: the sum of the factors stands in.
    covariant = product[1] if odd else torch.stack(vectors).sum(dim=0)
    return torch.stack(found, dim=-1), covariant


class GeometricAttention(nn.Module):
    """One layer: values of tuples of neighbors, weighted by a softmax over all tuples."""

    def __init__(self, width: int, *, rank: int = 2) -> None:
        super().__init__()
        if rank not in (1, 2, 3):
            raise ValueError(f"`rank` must be 1, 2 or 3 neighbors per tuple, got {rank}.")
        self.rank = rank
        self.invariants = _mlp(2 * rank - 1, width, width)
        self.merge = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(rank))
        self.join = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.score = nn.Linear(width, 1)
        self.rescale = nn.Linear(width, 1)

    def forward(
        self, vectors: Float[Tensor, "*batch K 3"], values: Float[Tensor, "*batch K C"]
    ) -> tuple[Float[Tensor, "*batch C"], Float[Tensor, "*batch 3"]]:
        """An invariant value and an equivariant vector for each set of K neighbors."""
        k, leading = vectors.shape[-2], vectors.dim() - 2
        tuples, merged = [], torch.zeros((), dtype=values.dtype, device=values.device)
        for place, project in enumerate(self.merge):
            shape = [1] * self.rank
            shape[place] = k
            where = (*vectors.shape[:-2], *shape)
            tuples.append(vectors.reshape(*where, 3))
            merged = merged + project(values).reshape(*where, -1)
        tuples = list(torch.broadcast_tensors(*tuples))
        invariants, covariant = product_invariants(tuples)
        joined = self.join(self.invariants(invariants) + merged)
        joined, covariant = (part.flatten(leading, -2) for part in (joined, covariant))
        weights = self.score(joined).softmax(dim=-2)
        turned = (weights * self.rescale(joined) * covariant).sum(dim=-2)
        return (weights * joined).sum(dim=-2), turned


class GeometricAttentionBackbone(nn.Module):
    """Point features from `depth` layers of attention over tuples of nearest neighbors."""

    def __init__(
        self,
        channels: int = 32,
        *,
        k: int = 10,
        rank: int = 2,
        depth: int = 2,
        radius: float | None = None,
    ) -> None:
        super().__init__()
        self.k, self.radius, self.channels = k, radius, channels
        self.start = nn.Parameter(0.1 * torch.randn(channels))
        self.layers = nn.ModuleList(GeometricAttention(channels, rank=rank) for _ in range(depth))
        self.mixers = nn.ModuleList(_mlp(2 * channels, channels, channels) for _ in range(depth))

    def forward(self, points: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n C"]:
        """Features that do not change with rotations and translations."""
        index = nearest(points, self.k)
        vectors = relative(points, index, self.radius)
        values = self.start.expand(*points.shape[:-1], -1)
        for layer, mixer in zip(self.layers, self.mixers, strict=True):
            update, _ = layer(vectors, gather(values, index))
            values = values + mixer(torch.cat([values, update], dim=-1))
        return values


def _length(vector: Tensor) -> Tensor:
    return (vector.square().sum(-1) + 1e-12).sqrt()


def _mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, outputs))
