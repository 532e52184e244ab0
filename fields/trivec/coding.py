"""Tri-vector fields in few bytes.

Components are written in canonical form: unit vectors, and their weights in density and colours.
Each is scaled by a power of two close to how much its numbers move the picture, so that one step
serves all numbers of a file and the error of the picture is the same for each bit that is saved.
Components whose loss costs less than their bits are left out: reverse water-filling chooses the
rank of every leaf. What is left goes through `vq.plan`, which rotates, quantises and codes rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8, UInt8
from numpy.typing import NDArray
from torch import Tensor

from .field import TrivecField
from .gauge import Components, canonical_components
from .sensitivity import Sensitivity

COARSEST, _FINEST = 1.0, 2.0**-24
"""Steps of the picture's error between which the right one lies; at the first nothing is kept."""
_EXPONENTS = (-20, 14)
"""Powers of two that scale components; at 14, unit vectors take 16,384 steps."""
_BITS_PER_NUMBER = 1.5
"""Cost of a number of a component that is about to be left out."""
_SLOPE = 2 * np.log(2) / 12
"""Squared error, in squared steps, that a bit removes at high rates."""


@dataclass(frozen=True)
class CodedRows:
    """What a file holds of a field's components, before quantisation."""

    counts: UInt8[np.ndarray, "N"]
    """Components of each leaf, uint8."""
    gains: Int8[np.ndarray, "N"]
    """Exponent of the scale of each leaf's weights, int8."""
    shares: Int8[np.ndarray, "W"]
    """Exponent of the scale of each channel's weights, int8."""
    exponents: Int8[np.ndarray, "C"]
    """Exponent of the scale of each component, int8; all first components, all second ones, ..."""
    axes: Float[np.ndarray, "C 3 D"]
    """Scaled vectors."""
    channels: Float[np.ndarray, "C W"]
    """Scaled weights of density and colours."""


@dataclass(frozen=True)
class Weighed:
    """Components and what the picture loses by errors in them."""

    components: Components
    """In canonical form."""
    axes: Float[Tensor, "N R"]
    """Mean sensitivity of the entries of each component's unit vectors."""
    channels: Float[Tensor, "N W"]
    """Sensitivity of each channel's weights in each leaf: a leaf's, times that of the channel."""
    losses: Float[Tensor, "N R"]
    """Squared change of a pixel when the component is left out."""

    @classmethod
    def of(cls, field: TrivecField, sensitivity: Sensitivity) -> Weighed:
        """The components of a field, whose sensitivity was measured in its own gauge."""
        components = canonical_components(field)
        lengths = field.vectors.detach().norm(dim=2)
        by_axis = (sensitivity.vectors * lengths.unsqueeze(2).square()).mean(dim=(1, 2))
        parts = [sensitivity.densities[:, None], sensitivity.colors.flatten(1, 2)]
        # Unit vectors have put the axes' lengths into the weights.
        size = lengths.prod(dim=1).clamp(min=1e-20)
        by_channel = torch.cat(parts, dim=1) / size[:, None].square()
        order = components.order
        rows = torch.arange(len(field))[:, None]
        by_channel = by_channel.permute(0, 2, 1)[rows, order]
        weights = components.channels * components.weights[..., None]
        losses = (by_channel * weights.square()).sum(-1)
        used = (components.weights > 0).float()
        typical = (by_channel * used[..., None]).sum(1) / used.sum(1).clamp(min=1)[:, None]
        by_leaf = typical.mean(1)
        shares = typical.sum(0) / by_leaf.sum().clamp(min=1e-30)
        channels = by_leaf[:, None] * shares
        return cls(components, by_axis[rows, order] * used, channels, losses * used)


def kept_components(weighed: Weighed, *, step: float, width: int) -> Bool[Tensor, "N R"]:
    """Components that are worth their bits at a step of the picture's error.

    Args:
        weighed: Of a field.
        step: Standard deviation of a pixel that one number's step may cause.
        width: Numbers of a component.
    """
    return weighed.losses > _SLOPE * _BITS_PER_NUMBER * width * step**2


def scaled_rows(weighed: Weighed, *, step: float) -> CodedRows:
    """Rows that are to be quantised with a step of 1.

    Args:
        weighed: Of a field.
        step: See `kept_components`.
    """
    components = weighed.components
    width = components.axes.shape[2] * components.axes.shape[3] + components.channels.shape[2]
    kept = kept_components(weighed, step=step, width=width)
    order = torch.argsort((~kept).int(), dim=1, stable=True)  # kept ones first, else as they were
    rows = torch.arange(len(kept))[:, None]
    exponents = _exponents(weighed.axes, step)[rows, order]
    by_leaf = weighed.channels.mean(1)
    shares = weighed.channels.sum(0) / by_leaf.sum().clamp(min=1e-30)
    shares = (0.5 * torch.log2(shares.clamp(min=2.0**-16))).round()
    gains = _exponents(by_leaf, step)
    axes = components.axes[rows, order] * torch.exp2(exponents)[..., None, None]
    channels = components.channels * components.weights[..., None]
    channels = channels[rows, order] * torch.exp2(gains[:, None, None] + shares)
    chosen = kept[rows, order].T
    return CodedRows(
        counts=kept.sum(1).numpy().astype(np.uint8),
        gains=gains.numpy().astype(np.int8),
        shares=shares.numpy().astype(np.int8),
        exponents=exponents.T[chosen].numpy().astype(np.int8),
        axes=axes.transpose(0, 1)[chosen].numpy(),
        channels=channels.transpose(0, 1)[chosen].numpy(),
    )


def estimated_bits(rows: CodedRows) -> float:
    """Bits of the rows, of each number as of a Gaussian of its magnitude in cells of width 1."""
    return sum(
        float(np.log2(1 + 4 * np.abs(values)).sum()) for values in (rows.axes, rows.channels)
    )


def step_for(weighed: Weighed, bits: float) -> float:
    """The step at which rows take an estimated number of bits, by halving intervals."""
    coarse, fine = math.log2(COARSEST), math.log2(_FINEST)
    for _ in range(24):
        middle = 0.5 * (coarse + fine)
        if estimated_bits(scaled_rows(weighed, step=2**middle)) > bits:
            fine = middle
        else:
            coarse = middle
    return 2**coarse


def _exponents(sensitivity: Tensor, step: float) -> Tensor:
    ideal = 0.5 * torch.log2(sensitivity.clamp(min=1e-30)) - np.log2(step)
    return ideal.round().clamp(*_EXPONENTS)


def parameters_of(
    rows: CodedRows, *, rank: int
) -> tuple[Float[Tensor, "N 3 D R"], Float[Tensor, "N R"], Float[Tensor, "N K 3 R"]]:
    """Vectors, weights of the density and of the colours of decoded rows.

    Only multiplications by powers of two: the same bits everywhere.
    """
    leaves, nodes, width = len(rows.counts), rows.axes.shape[2], rows.channels.shape[1]
    chosen = torch.arange(rank)[:, None] < torch.from_numpy(rows.counts.astype(np.int64))
    gains = _floats(rows.gains).expand(rank, -1)[chosen]
    axes = torch.zeros(rank, leaves, 3, nodes)
    axes[chosen] = torch.from_numpy(rows.axes) * torch.exp2(-_floats(rows.exponents))[:, None, None]
    channels = torch.zeros(rank, leaves, width)
    channels[chosen] = torch.from_numpy(rows.channels) * torch.exp2(
        -gains[:, None] - _floats(rows.shares)
    )
    colors = channels[..., 1:].permute(1, 2, 0).reshape(leaves, -1, 3, rank)
    return (
        axes.permute(1, 2, 3, 0).contiguous(),
        channels[..., 0].T.contiguous(),
        colors.contiguous(),
    )


def _floats(integers: NDArray[np.int8]) -> Tensor:
    return torch.from_numpy(integers.astype(np.float32))
