"""All of space in one cube, and distances in which rays are sampled evenly.

Reference: Barron et al., "Mip-NeRF 360", 2022, eq. 10, with the largest coordinate instead of the
Euclidean length, as Tancik et al., "Nerfstudio", 2023, section 4 do, so that the image is a cube.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_TINY = 1e-6


def contract(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Positions in the unit cube: [-1, 1]^3 keeps its shape in the middle half, all else around it.

    x -> x where |x| <= 1 and (2 - 1 / |x|) x / |x| beyond, |x| the largest coordinate; then
    [-2, 2] is scaled to [0, 1]. Differentiable, and a point at infinity lands on the border.
    """
    size = points.abs().amax(dim=-1, keepdim=True).clamp(min=1)
    return ((2 - 1 / size) * (points / size) + 2) / 4


def stretching(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Contracted length per length outwards: 1 / |x|^2 beyond |x| = 1, else 1."""
    return points.abs().amax(dim=-1).clamp(min=1) ** -2


def spacing(distances: Tensor) -> Tensor:
    """t / 2 up to 1, then 1 - 1 / (2 t): half of [0, 1) even in distance, half in its inverse."""
    return torch.where(distances < 1, distances / 2, 1 - 1 / (2 * distances.clamp(min=_TINY)))


def unspacing(values: Tensor) -> Tensor:
    """The inverse of `spacing`."""
    return torch.where(values < 0.5, 2 * values, 1 / (2 - 2 * values).clamp(min=_TINY))


CONTRACTED = 0.25
"""Contracted length per length where space keeps its shape."""
