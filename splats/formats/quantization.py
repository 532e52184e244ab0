"""Small integers for opacities, colors and rotations, as several splat formats store them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from ..sh import SH_C0

MIN_ALPHA = 1e-6
"""Opacities 0 and 1 are read as this and 1 minus this, whose logits are finite."""


def alpha_bytes(logit_opacities: Float[Tensor, "N"]) -> UInt8[ndarray, "N"]:
    """round(255 * opacity)."""
    return logit_opacities.double().sigmoid().mul(255).round().to(torch.uint8).numpy()


def logits_of_bytes(alphas: UInt8[ndarray, "*n"]) -> Float32[ndarray, "*n"]:
    """The logit of alphas / 255, 0 and 255 by `MIN_ALPHA` inside."""
    values = (np.arange(256) / 255).clip(MIN_ALPHA, 1 - MIN_ALPHA)
    return np.log(values / (1 - values)).astype(np.float32)[alphas]


def color_bytes(sh0: Float[Tensor, "N 1 3"]) -> UInt8[ndarray, "N 3"]:
    """round(255 * color), colors outside [0, 1] set to the nearest end."""
    colors = sh0[:, 0].double().mul(SH_C0).add(0.5)
    return colors.mul(255).round().clamp(0, 255).to(torch.uint8).numpy()


def sh0_of_bytes(colors: UInt8[ndarray, "N 3"]) -> Float32[ndarray, "N 1 3"]:
    """Degree-0 coefficients of colors / 255."""
    values = ((np.arange(256) / 255 - 0.5) / SH_C0).astype(np.float32)
    return values[colors][:, None]


def unit_quats(quats: Float[Tensor, "N 4"]) -> Float[ndarray, "N 4"]:
    """(w, x, y, z) of length 1, float64; the identity where the length is zero."""
    values = quats.double()
    largest = values.abs().amax(1, keepdim=True)  # first, so that no square over- or underflows
    values = values / torch.where(largest > 0, largest, 1)
    values[:, 0] += (largest[:, 0] == 0).to(values)
    return (values / values.norm(dim=1, keepdim=True)).numpy()


def split_smallest_three(
    quats: Float[ndarray, "N 4"],
) -> tuple[Float[ndarray, "N 3"], Int64[ndarray, "N"]]:
    """The three smaller components of unit (w, x, y, z), and the place of the largest.

    The sign is such that the largest is positive; the others keep their order and lie in
    [-sqrt(1/2), sqrt(1/2)].
    """
    largest = np.abs(quats).argmax(1)
    rows = np.arange(len(quats))
    signs = np.where(quats[rows, largest] < 0, -1.0, 1.0)
    return quats[rows[:, None], _OTHERS[largest]] * signs[:, None], largest


def join_smallest_three(
    small: Float32[ndarray, "N 3"], largest: Int64[ndarray, "N"]
) -> Float32[ndarray, "N 4"]:
    """Unit (w, x, y, z) from what `split_smallest_three` gives."""
    quats = np.empty((len(small), 4), np.float32)
    rows = np.arange(len(small))
    quats[rows[:, None], _OTHERS[largest]] = small
    quats[rows, largest] = np.sqrt(np.maximum(0, 1 - np.square(small).sum(1)))
    return quats


_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
