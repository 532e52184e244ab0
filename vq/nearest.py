"""Exact nearest code of each vector, in bounded memory."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK_VALUES = 1 << 24
"""Distances held at a time: 64 MB of float32."""


@torch.no_grad()
def nearest(
    x: Float[Tensor, "n dim"],
    codebook: Float[Tensor, "k dim"],
    *,
    penalty: Float[Tensor, "k"] | None = None,
) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    """Index of the nearest row of `codebook` for each row of `x`, and the cost of it.

    Args:
        x: Vectors; computed in float32 whatever their type.
        codebook: Codes, K >= 1.
        penalty: Added to the squared distance of each code, for example lambda times its length
            in bits (entropy-constrained assignment).

    Returns:
        Indices, int64; the lowest index wins a tie. Costs |x - c|^2 + penalty, float32.

    Raises:
        ValueError: `codebook` is empty or the vectors differ in length.
    """
    if len(codebook) == 0 or x.shape[1] != codebook.shape[1]:
        raise ValueError(
            f"`codebook` must be [K >= 1, {x.shape[1]}] to match `x`, got {list(codebook.shape)}."
        )
    x, codebook = x.float(), codebook.float()
    offsets = codebook.square().sum(1)
    if penalty is not None:
        offsets = offsets + penalty.float()
    indices, costs = [], []
    for rows in x.split(max(1, CHUNK_VALUES // len(codebook))):
        cost, index = torch.addmm(offsets, rows, codebook.T, alpha=-2).min(1)
        indices.append(index)
        costs.append(cost + rows.square().sum(1))
    if not indices:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    return torch.cat(indices), torch.cat(costs)
