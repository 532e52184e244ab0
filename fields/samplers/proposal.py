"""Proposal sampling: cheap densities say where the dear one is asked.

Reference: Barron et al., "Mip-NeRF 360", 2022, section 3; the piecewise-constant inverse transform
of "NeRF", 2020, section 5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..rays import Rays
from ..samples import Samples
from ..volume import render_weights

Spacing = Callable[[Tensor], Tensor]
"""A monotone map between distances and the coordinate in which steps are equal."""


class ProposalSampler:
    """A `Sampler` of fixed cost: every round asks a density and concentrates the next one."""

    def __init__(
        self,
        densities: Sequence[Callable[[Tensor], Tensor]],
        *,
        counts: Sequence[int],
        near: float,
        far: float,
        spacing: tuple[Spacing, Spacing],
    ) -> None:
        """
        Args:
            densities: One per round, points [*, 3] to densities [*].
            counts: Intervals of each round, and of the samples handed out: one more number.
            near: Distance of the first interval.
            far: Distance of the end of the last one.
            spacing: From distances to the coordinate with equal first steps, and back.
        """
        if len(counts) != len(densities) + 1 or not 0 <= near < far:
            raise ValueError(
                f"`counts` must hold {len(densities) + 1} numbers and 0 <= near < far, got "
                f"{list(counts)}, {near} and {far}."
            )
        self.densities, self.counts = tuple(densities), tuple(counts)
        self.near, self.far, self.spacing = near, far, spacing
        self.anneal = 1.0
        """Exponent of the weights, from 0 (ignore them) to 1, for the beginning of a training."""

    def sample(self, rays: Rays, *, jitter: torch.Generator | None = None) -> Samples:
        """See `Sampler`."""
        return self.rounds(rays, jitter=jitter)[-1][0]

    def rounds(
        self, rays: Rays, *, jitter: torch.Generator | None = None
    ) -> list[tuple[Samples, Tensor | None]]:
        """The samples of every round with their weights, for the interlevel loss; last without."""
        to, back = self.spacing
        limits = to(torch.tensor([self.near, self.far], device=rays.origins.device))
        shares = torch.linspace(0, 1, self.counts[0] + 1, device=limits.device)
        edges = (limits[0] + shares * (limits[1] - limits[0])).expand(len(rays), -1)
        found: list[tuple[Samples, Tensor | None]] = []
        for density, count in zip(self.densities, self.counts[1:], strict=True):
            samples = Samples.from_edges(back(edges))
            weights = render_weights(density(samples.points(rays)), samples)
            found.append((samples, weights))
            held = weights.detach().view(len(rays), -1) ** self.anneal
            edges = resample(edges, held, count, jitter=jitter)
        found.append((Samples.from_edges(back(edges)), None))
        return found


@torch.no_grad()
def resample(
    edges: Float[Tensor, "R E"],
    weights: Float[Tensor, "R K"],
    count: int,
    *,
    jitter: torch.Generator | None = None,
    padding: float = 1e-5,
) -> Float[Tensor, "R N"]:
    """Edges of `count` intervals that hold equal shares of a piecewise constant density.

    Args:
        edges: Sorted edges of the K = E - 1 bins.
        weights: Mass of each bin, not negative.
        count: Intervals wanted; N = count + 1.
        jitter: Shifts all edges of a ray by one random share of an interval, for training.
        padding: Mass added to each bin, so that none is lost.
    """
    masses = weights + padding
    shares = torch.cat([torch.zeros_like(masses[:, :1]), masses.cumsum(1)], dim=1)
    shares = shares / shares[:, -1:]
    wanted = torch.linspace(0, 1, count + 1, device=edges.device).expand(len(edges), -1)
    if jitter is not None:
        shift = torch.rand(len(edges), 1, generator=jitter).to(edges) - 0.5
        wanted = (wanted + shift / count).clamp(0, 1)
    index = torch.searchsorted(shares, wanted.contiguous(), right=True).clamp(1, edges.shape[1] - 1)
    below, above = shares.gather(1, index - 1), shares.gather(1, index)
    left, right = edges.gather(1, index - 1), edges.gather(1, index)
    part = ((wanted - below) / (above - below).clamp(min=1e-12)).clamp(0, 1)
    return left + part * (right - left)
