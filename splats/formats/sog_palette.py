"""The palette of a SOG scene: harmonics of all Gaussians, replaced by at most 65,536 of them.

Plain k-means would compare a million vectors with 65,536 centers in every iteration. Here the
vectors are first split into groups, each with a share of the centers that grows with the error it
would have, and k-means runs inside the groups; the last iterations and the final search look into
the few groups nearest to a vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vq import nearest

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
        near = torch.cat(
            [
                torch.cdist(rows, self.groups).topk(probes, largest=False).indices
                for rows in x.split(_ROWS_AT_ONCE)
            ]
        )
        best = torch.full((len(x),), math.inf)
        labels = torch.zeros(len(x), dtype=torch.int64)
        by_group = near.flatten().argsort(stable=True)
        ends = torch.bincount(near.flatten(), minlength=len(self.groups)).cumsum(0).tolist()
        start = 0
        for group, end in enumerate(ends):
            rows = by_group[start:end] // probes
            start = end
            first, last = int(self.starts[group]), int(self.starts[group + 1])
            if len(rows) == 0 or first == last:
                continue
            index, cost = nearest(x[rows], self.entries[first:last])
            closer = cost < best[rows]
            rows = rows[closer]
            best[rows] = cost[closer]
            labels[rows] = index[closer] + first
        return labels, best


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
    index, costs = nearest(x, groups)
    counts = torch.bincount(index, minlength=len(groups))
    members = index.argsort(stable=True).split(counts.tolist())
    if enough:
        ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return Palette(groups, x[torch.cat(members)], ends)
    errors = torch.zeros(len(groups)).index_add_(0, index, costs.clamp(min=0))
    shares = _share(size, counts, errors)
    parts = [
        _kmeans(x[rows], share, iterations, generator) if share else x[:0]
        for rows, share in zip(members, shares.tolist(), strict=True)
    ]
    sizes = torch.tensor([0, *(len(part) for part in parts)])
    palette = Palette(groups, torch.cat(parts), sizes.cumsum(0))
    for _ in range(_REFINEMENTS):
        labels, costs = palette.search(x)
        entries = _means(x, labels, costs, len(palette.entries))
        palette = Palette(groups, entries, palette.starts)
    return palette


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
        labels, costs = nearest(x, centers)
        centers = _means(x, labels, costs, count)
    return centers


def _means(x: Tensor, labels: Tensor, costs: Tensor, count: int) -> Tensor:
    """Mean of the rows with each label; labels without rows take the rows that fit worst."""
    sums = torch.zeros(count, x.shape[1]).index_add_(0, labels, x)
    counts = torch.bincount(labels, minlength=count)
    centers = sums / counts.clamp(min=1)[:, None]
    empty = (counts == 0).nonzero()[:, 0]
    centers[empty] = x[costs.topk(len(empty)).indices]
    return centers
