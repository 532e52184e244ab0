"""Tri-vector fields in few bytes.

Components are written in canonical form. A step of the same size in any of a component's vectors
moves the field in proportion to the component's weight, and a leaf's error shows in proportion to
how much of the photos it fills: so each component is scaled by a power of two close to weight times
the leaf's gain, and one step then serves all numbers of the file. Components whose scaled vectors
would round to nothing are left out: reverse water-filling chooses the rank of every leaf. What is
left goes through `vq.plan`, which rotates, quantises and codes rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from .gauge import Components

_LARGEST = 12
"""Largest exponent: vectors of 4096 steps."""


@dataclass(frozen=True)
class CodedRows:
    """What a file holds of a field's components, before quantisation."""

    counts: Int64[Tensor, "N"]
    """Components of each leaf."""
    gains: Int[np.ndarray, "N"]
    """Exponent of the scale of each leaf's channels, int8."""
    exponents: Int[np.ndarray, "C"]
    """Exponent of the scale of each component, int8; all first components, all second ones, ..."""
    axes: Float[np.ndarray, "C 3 D"]
    """Scaled vectors."""
    channels: Float[np.ndarray, "C K"]
    """Scaled weights of density and colours."""


def scaled_rows(
    components: Components,
    importance: Float[Tensor, "N"],
    *,
    step: float,
    dead: float = 0.5,
) -> CodedRows:
    """Rows that are to be rounded to integers.

    Args:
        components: Of a field.
        importance: How much of the photos each leaf fills, 1 on average.
        step: Error that a leaf of importance 1 may have, in the unit of the field's features.
        dead: Components are left out whose scale is below this many steps.
    """
    gains = torch.round(torch.log2(importance.clamp(min=2.0**-12).sqrt() / step))
    ideal = torch.log2(components.weights.clamp(min=1e-30))
    whole = torch.round(ideal)
    exponents = (whole + gains[:, None]).clamp(max=_LARGEST)
    kept = ideal + gains[:, None] > np.log2(dead)
    kept &= torch.arange(kept.shape[1]) < kept.sum(1, keepdim=True)  # weights descend
    rest = torch.exp2(ideal + gains[:, None] - exponents)
    scale = torch.exp2(exponents)
    axes = (components.axes * scale[..., None, None]).transpose(0, 1)
    channels = (components.channels * (scale * rest)[..., None]).transpose(0, 1)
    chosen = kept.T
    return CodedRows(
        counts=kept.sum(1),
        gains=gains.numpy().astype(np.int8),
        exponents=exponents.T[chosen].numpy().astype(np.int8),
        axes=axes[chosen].numpy(),
        channels=channels[chosen].numpy(),
    )


def parameters_of(rows: CodedRows, *, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors [N, 3, D, R], densities [N, R] and colours [N, K, 3, R] of decoded rows.

    Only multiplications by powers of two: the same bits everywhere.
    """
    leaves, nodes = len(rows.counts), rows.axes.shape[2]
    width = rows.channels.shape[1]
    chosen = torch.arange(rank)[:, None] < rows.counts
    exponents = torch.from_numpy(rows.exponents.astype(np.float32))
    gains = torch.from_numpy(rows.gains.astype(np.float32)).expand(rank, -1)[chosen]
    axes = torch.zeros(rank, leaves, 3, nodes)
    axes[chosen] = torch.from_numpy(rows.axes) * torch.exp2(-exponents)[:, None, None]
    channels = torch.zeros(rank, leaves, width)
    channels[chosen] = torch.from_numpy(rows.channels) * torch.exp2(-gains)[:, None]
    colors = channels[..., 1:].permute(1, 2, 0).reshape(leaves, -1, 3, rank)
    return (
        axes.permute(1, 2, 3, 0).contiguous(),
        channels[..., 0].T.contiguous(),
        colors.contiguous(),
    )
