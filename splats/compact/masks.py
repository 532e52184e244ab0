"""Learnable masks: Gaussians that the images do not need switch themselves off.

Reference: Lee et al., "Compact 3D Gaussian Representation for Radiance Field", CVPR 2024, sec. 3.1.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim import Optimizer

from vq.quantizers.gradients import straight_through

from ..training.parameters import Parameters

NAME = "masks"
"""Of the rows in `Parameters`."""
START = 1.0
"""Logit of every mask at the beginning."""
THRESHOLD = 0.01
"""A Gaussian whose mask is at most this is off."""
HIDDEN = -20.0
"""Opacity logit of a Gaussian that its strategy shall take for dead."""


def binary(logits: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """1 where a Gaussian is on, else 0; the gradient is that of the sigmoid (eq. 1)."""
    soft = logits.sigmoid()
    return straight_through(soft, (soft.detach() > THRESHOLD).to(soft))


def is_on(params: Parameters) -> Bool[Tensor, "N"]:
    """Which Gaussians are rendered."""
    return params[NAME].detach().sigmoid() > THRESHOLD


@torch.no_grad()
def hide_masked(params: Parameters) -> None:
    """Make what is off transparent, so that the strategy removes it or uses it elsewhere."""
    params["logit_opacities"].masked_fill_(~is_on(params), HIDDEN)


def remove_masked(params: Parameters, optimizer: Optimizer) -> None:
    """Drop what is off; if everything is, nothing."""
    on = is_on(params)
    if on.any() and not on.all():
        params.keep(on.nonzero().flatten(), optimizer)
