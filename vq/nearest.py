"""Exact nearest code of each vector, in bounded memory."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from . import search

CHUNK_VALUES = 1 << 24
"""Distances held at a time: 64 MB of float32."""
PRUNED_FROM = 1 << 25
"""Distances from which the native search pays: it first arranges the codes."""


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
    if penalty is not None and penalty.shape != (len(codebook),):
        raise ValueError(
            f"`penalty` must be [{len(codebook)}], one per code, got {list(penalty.shape)}."
        )
    if _pruned_pays(x, codebook) and (penalty is None or bool(torch.isfinite(penalty).all())):
        return _nearest_pruned(x, codebook, penalty)
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


def _pruned_pays(x: Tensor, codebook: Tensor) -> bool:
    """Whether to search natively: on the CPU, for many finite vectors."""
    return (
        search.available()
        and x.device.type == "cpu"
        and codebook.device.type == "cpu"
        and len(x) >= 2 * len(codebook)
        and len(codebook) >= search.GROUP
        and len(x) * len(codebook) >= PRUNED_FROM
        and bool(torch.isfinite(x).all())
        and bool(torch.isfinite(codebook).all())
    )


def _nearest_pruned(x: Tensor, codebook: Tensor, penalty: Tensor | None) -> tuple[Tensor, Tensor]:
    """The native search. A penalty p is one more coordinate: 0 of vectors, sqrt(p) of codes."""
    points, codes, base = x.detach().numpy(), codebook.detach().numpy(), 0.0
    if penalty is not None:
        base = float(penalty.min())
        heights = (penalty.detach().double() - base).clamp(min=0).sqrt().numpy().astype(np.float32)
        points = np.concatenate([points, np.zeros((len(points), 1), np.float32)], 1)
        codes = np.concatenate([codes, heights[:, None]], 1)
    axes = search.Axes.of(points)
    placed = axes.place(codes)
    groups = search.Groups.of(placed)
    index = search.Index(axes, groups, placed)
    positions = np.full(len(points), -1, np.int32)
    costs = np.zeros(len(points), np.float32)
    index.search(axes.place(points), positions, costs)
    indices = torch.from_numpy(groups.ids[positions].astype(np.int64))
    return indices, torch.from_numpy(costs) + base
