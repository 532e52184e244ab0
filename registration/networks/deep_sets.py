"""Functions of sets: invariant and equivariant under any order of the elements.

Reference: Zaheer et al., "Deep Sets", NeurIPS 2017: rho(sum_i phi(x_i)) and, for one output per
element, sigma(x Lambda - 1 maxpool(x) Gamma).
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .neighborhoods import gather, nearest, normals, relative


class EquivariantLayer(nn.Module):
    """x Lambda - pool(x) Gamma over the second last dimension; permutes with its elements."""

    def __init__(self, inputs: int, outputs: int, *, pool: Literal["max", "mean"] = "max") -> None:
        super().__init__()
        self.own = nn.Linear(inputs, outputs)
        self.pooled = nn.Linear(inputs, outputs, bias=False)
        self.pool = pool

    def forward(self, x: Float[Tensor, "*batch n C"]) -> Float[Tensor, "*batch n D"]:
        """One output per element."""
        whole = x.amax(-2, True) if self.pool == "max" else x.mean(-2, True)
        return self.own(x) - self.pooled(whole)


class DeepSet(nn.Module):
    """rho(pool_i phi(x_i)): one output for a set, whatever the order and number of its elements."""

    def __init__(self, inputs: int, outputs: int, *, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(depth):
            layers += [EquivariantLayer(width if number else inputs, width), nn.GELU()]
        self.phi = nn.Sequential(*layers)
        self.rho = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, outputs))

    def forward(self, x: Float[Tensor, "*batch n C"]) -> Float[Tensor, "*batch D"]:
        """One output per set, from the mean and the maximum over its elements."""
        x = self.phi(x)
        return self.rho(torch.cat([x.mean(dim=-2), x.amax(dim=-2)], dim=-1))


class DeepSetsBackbone(nn.Module):
    """Point features from each point's neighborhood as a set of invariants.

    A neighbor at r is seen as its distance |r|, its height |r.n_i| over the tangent plane, and the
    angles |n_i.n_j| and |r.n_j| with its own normal: the same in every frame, mirrored ones
    included, and whatever the normals' signs.
    """

    def __init__(self, channels: int = 32, *, k: int = 24, radius: float | None = None) -> None:
        super().__init__()
        self.k, self.radius, self.channels = k, radius, channels
        self.set = DeepSet(4, channels)

    def forward(self, points: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n C"]:
        """Invariant features [*batch, n, channels]."""
        index = nearest(points, self.k)
        vectors = relative(points, index, self.radius)
        own = normals(vectors)
        theirs = gather(own, index)
        own = own[..., None, :]
        invariants = [
            vectors.norm(dim=-1),
            (vectors * own).sum(-1).abs(),
            (own * theirs).sum(-1).abs(),
            (vectors * theirs).sum(-1).abs(),
        ]
        return self.set(torch.stack(invariants, dim=-1))


class OutlierDetector(nn.Module):
    """Logit per point of not belonging to the surface; permutation-equivariant, frame-invariant."""

    def __init__(self, *, k: int = 16, width: int = 24) -> None:
        super().__init__()
        self.local = DeepSetsBackbone(width, k=k)
        self.context = nn.Sequential(
            EquivariantLayer(width, width, pool="mean"), nn.GELU(), nn.Linear(width, 1)
        )

    def forward(self, points: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n"]:
        """Positive where a point is more likely an outlier than not."""
        return self.context(self.local(points)).squeeze(-1)
