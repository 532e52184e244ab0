"""Codebooks fitted to data: Lloyd's alternation, also with a price on each code's length."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..nearest import nearest


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
    """The codes of k-means on `x`; with fewer vectors than codes, codes repeat vectors.

    Args:
        x: The data, n >= 1.
        num_codes: K.
        weights: Importance of each vector, non-negative, not all 0.
        iterations: Lloyd steps. An empty cell moves to the vector that is worst off.
        seed: Of the initial choice, rows drawn without replacement in proportion to `weights`.
    """
    generator = torch.Generator().manual_seed(seed)
    # The largest of log(weight) + Gumbel noise are a draw without replacement.
    noise = torch.rand(len(x), generator=generator, dtype=torch.float64).log().neg().log().neg()
    keys = weights.double().log() + noise.to(x.device)
    order = keys.topk(min(num_codes, len(x))).indices
    codebook = x[order[torch.arange(num_codes, device=x.device) % len(order)]]
    for _ in range(iterations):
        indices, costs = nearest(x, codebook)
        codebook, mass = cell_means(x, indices, weights, codebook)
        empty = (mass == 0).nonzero()[:, 0]
        worst = (costs * weights).topk(min(len(empty), len(x))).indices
        codebook[empty[: len(worst)]] = x[worst]
    return codebook
