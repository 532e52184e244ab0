"""Codebooks from data: k-means, and the means of given cells."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..kmeans import kmeans


def cell_means(
    x: Float[Tensor, "n dim"],
    indices: Int[Tensor, "n"],
    weights: Float[Tensor, "n"],
    previous: Float[Tensor, "k dim"],
) -> tuple[Float[Tensor, "k dim"], Float[Tensor, "k"]]:
    """Weighted mean and weight of each cell; an empty cell keeps its `previous` code.

    Sums are float64, so that a cell of a million vectors loses nothing.
    """
    mass = x.new_zeros(len(previous), dtype=torch.float64).index_add_(0, indices, weights.double())
    sums = x.new_zeros(previous.shape, dtype=torch.float64)
    sums.index_add_(0, indices, x.double() * weights.double()[:, None])
    means = torch.where(mass[:, None] > 0, sums / mass.clamp(min=1e-300)[:, None], previous)
    return means.float(), mass.float()


def fit_codebook(
    x: Float[Tensor, "n dim"],
    num_codes: int,
    *,
    weights: Float[Tensor, "n"],
    iterations: int,
    seed: int,
) -> Float[Tensor, "k dim"]:
    """The codes of k-means on `x`, most used first, so that a file's frequency table is cheap.

    With fewer vectors than codes, the codes repeat.

    Args:
        x: The data, n >= 1.
        num_codes: K.
        weights: Importance of each vector, non-negative, not all 0.
        iterations: Most Lloyd steps.
        seed: Of the initial choice.
    """
    size = min(num_codes, len(x))
    found = kmeans(x, size, weights=weights, iterations=iterations, seed=seed)
    uses = torch.bincount(found.indices, minlength=size)
    order = uses.argsort(descending=True, stable=True)
    return found.centers[order[torch.arange(num_codes) % size]].to(x.device)
