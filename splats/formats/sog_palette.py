"""The palette of a SOG scene: harmonics of all Gaussians, replaced by at most 65,536 of them.

Plain k-means would compare a million vectors with 65,536 centers in every iteration. Here the
vectors are first split into groups, each with a share of the centers that grows with the error it
would have, and k-means runs inside all groups at once; the last iterations and the final search
look into the few groups nearest to a vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vq.group_search import nearest_in_groups

MAX_ENTRIES = 1 << 16
"""Labels have 16 bits."""
_PROBES = 4  # groups searched for each vector
_ROWS_AT_ONCE = 1 << 15
_COARSE_SAMPLE = 1 << 15
_COARSE_ITERATIONS = 8
_REFINEMENTS = 1
_ERROR_EXPONENT = 0.8  # d / (d + 2) for vectors of about eight independent dimensions


@dataclass(frozen=True)
class Palette:
    """Centers in groups, each searched through the mean of its group."""

    groups: Float[Tensor, "G D"]
    """A center for each group."""
    entries: Float[Tensor, "P D"]
    """The palette; the entries of a group stand together."""
    starts: Int[Tensor, "G+1"]
    """Entries of group g are `starts[g]` to `starts[g + 1]`."""

    def search(self, x: Float[Tensor, "n D"]) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
        """Entry of each row, the nearest in the four groups nearest to it, and squared distance."""
        probes = min(_PROBES, len(self.groups))
        lengths = self.groups.square().sum(1)
        near = torch.cat(
            [
                torch.addmm(lengths, rows, self.groups.T, alpha=-2)
                .topk(probes, largest=False, sorted=False)
                .indices
                for rows in x.split(_ROWS_AT_ONCE)
            ]
        ).flatten()
        order = near.argsort(stable=True)
        found, costs = nearest_in_groups(
            x, order // probes, _ends(near, len(self.groups)), self.entries, self.starts
        )
        labels, distances = torch.empty_like(found), torch.empty_like(costs)
        labels[order], distances[order] = found, costs
        best = distances.reshape(-1, probes).min(1)
        return labels.reshape(-1, probes).gather(1, best.indices[:, None])[:, 0], best.values


def palette_size(num_rows: int) -> int:
    """Entries for a scene of so many Gaussians: the power of two below it, at most 65,536."""
    return min(MAX_ENTRIES, 1 << (num_rows.bit_length() - 1))


def fit_palette(
    x: Float[Tensor, "n D"], size: int, *, iterations: int = 10, seed: int = 0
) -> Palette:
    """At most `size` centers for the rows of `x`; the rows themselves where no more differ.

    Args:
        x: Finite vectors, at least one.
        size: 1 to 65,536.
        iterations: Of k-means inside the groups.
        seed: Of the choice of starting points; equal seeds give equal palettes.
    """
    generator = torch.Generator().manual_seed(seed)
    distinct = _distinct(x)
    enough = len(distinct) <= size
    if enough:
        x = distinct
    sample = x[torch.randperm(len(x), generator=generator)[:_COARSE_SAMPLE]]
    groups = _kmeans(sample, round(math.sqrt(size)), _COARSE_ITERATIONS, generator)
    index, costs = _nearest(x, groups)
    counts = torch.bincount(index, minlength=len(groups))
    members = index.argsort(stable=True)
    if enough:
        return Palette(groups, x[members], _ends(index, len(groups)))
    errors = torch.zeros(len(groups)).index_add_(0, index, costs.clamp(min=0))
    shares = _share(size, counts, errors)
    palette = Palette(groups, x[_drawn(index, shares, generator)], _cumulative(shares))
    for _ in range(iterations):
        labels = torch.empty_like(index)
        labels[members], _ = nearest_in_groups(
            x, members, _cumulative(counts), palette.entries, palette.starts
        )
        palette = replace(palette, entries=_means(x, labels, palette.entries))
    for _ in range(_REFINEMENTS):
        palette = replace(palette, entries=_means(x, palette.search(x)[0], palette.entries))
    return palette


def _cumulative(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _ends(groups: Tensor, count: int) -> Tensor:
    """Where each group starts and ends once `groups` are sorted, [count + 1]."""
    return _cumulative(torch.bincount(groups, minlength=count))


def _drawn(groups: Tensor, shares: Tensor, generator: torch.Generator) -> Tensor:
    """Rows drawn at random, `shares[g]` of those of group g, group by group."""
    shuffled = torch.randperm(len(groups), generator=generator)
    order = shuffled[groups[shuffled].argsort(stable=True)]
    starts = _ends(groups, len(shares))
    place = torch.arange(len(order)) - starts[groups[order]]
    return order[place < shares[groups[order]]]


def _distinct(x: Tensor) -> Tensor:
    """The different rows of `x`, told apart by their product with a random vector in float64."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(x.shape[1], generator=generator, dtype=torch.float64)
    products = torch.cat([rows.double() @ direction for rows in x.split(_ROWS_AT_ONCE)])
    _, first = np.unique(products.numpy(), return_index=True)
    return x[torch.from_numpy(np.sort(first))]


def _share(size: int, counts: Tensor, errors: Tensor) -> Tensor:
    """Number of centers of each group: by its error, at most its rows, together `size`."""
    weights = errors.double() ** _ERROR_EXPONENT * counts.double() ** (1 - _ERROR_EXPONENT)
    shares = torch.zeros_like(counts)
    while (left := size - int(shares.sum())) > 0:
        room = counts - shares
        weights = torch.where(room > 0, weights + 1e-30, 0.0)
        wanted = left * weights / weights.sum()
        given = torch.minimum(wanted.floor().long(), room)
        if not given.any():
            given = torch.zeros_like(counts)
            given[(wanted * (room > 0)).topk(min(left, int((room > 0).sum()))).indices] = 1
        shares += given
    return shares


def _kmeans(x: Tensor, count: int, iterations: int, generator: torch.Generator) -> Tensor:
    """Centers of plain k-means from random rows."""
    if count >= len(x):
        return x
    centers = x[torch.randperm(len(x), generator=generator)[:count]]
    for _ in range(iterations):
        centers = _means(x, _nearest(x, centers)[0], centers)
    return centers


def _nearest(x: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest of all centers, and squared distance."""
    one = torch.tensor([0, 1])
    return nearest_in_groups(x, torch.arange(len(x)), one * len(x), centers, one * len(centers))


def _means(x: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """Mean of the rows with each label; centers without rows stay. Label -1 is none."""
    held = labels >= 0
    sums = torch.zeros_like(centers).index_add_(0, labels[held], x[held])
    counts = torch.bincount(labels[held], minlength=len(centers))[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), centers)
