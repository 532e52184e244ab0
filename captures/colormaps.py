"""Colors for numbers: the turbo map, and depth as pictures."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_TURBO = (
    (0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943),
    (0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604),
    (0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973),
)
"""Coefficients of x^0 to x^5 for red, green and blue."""


def turbo(values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    """sRGB colours in [0, 1] for values in [0, 1] (clamped): blue, green, yellow, red.

    Reference: Mikhailov, "Turbo, an improved rainbow colormap", 2019; polynomial by Ruofei Du.
    """
    x = values.clamp(0, 1)
    powers = torch.stack([x**power for power in range(6)], dim=-1)
    return (powers @ torch.tensor(_TURBO, dtype=x.dtype, device=x.device).T).clamp(0, 1)


def colorize_depth(
    depth: Float[Tensor, "H W"],
    alpha: Float[Tensor, "H W"],
    *,
    limits: tuple[float, float] | None = None,
) -> Float[Tensor, "H W 3"]:
    """Depth as sRGB, near red and far blue, on black where nothing was hit.

    Args:
        depth: z-depth, world units.
        alpha: Coverage in [0, 1]; fades the colour to black.
        limits: Depths of the two ends of the map; by default the 2nd and 98th percentile.
    """
    low, high = depth_limits(depth, alpha) if limits is None else limits
    scaled = (depth - low) / max(high - low, 1e-12)
    return turbo(1 - scaled) * alpha[..., None]


def depth_limits(depth: Float[Tensor, "H W"], alpha: Float[Tensor, "H W"]) -> tuple[float, float]:
    """2nd and 98th percentile of the depths where more than half is covered; (0, 1) if nowhere."""
    covered = depth[alpha > 0.5].sort().values
    if len(covered) == 0:
        return 0.0, 1.0
    last = len(covered) - 1
    return float(covered[round(0.02 * last)]), float(covered[round(0.98 * last)])
