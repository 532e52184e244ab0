"""How much each Gaussian contributes to pictures, measured by rendering."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from captures import Cameras

from ..formats.cameras import core
from ..formats.importance import visible_importance
from ..gaussians import Gaussians
from ..rasterizer import rasterization
from ..scene import near_plane

_INSIDE = 0.25  # of the core's squared radius: a camera stands half a radius away at least


def blending_weights(gaussians: Gaussians, cameras: Cameras) -> Float[Tensor, "N"]:
    """Sum of each Gaussian's blending weights T alpha over all pixels of all cameras.

    A picture is linear in colors, so the derivative of its sum to a color is that weight: one
    backward pass per camera gives all of them.

    Args:
        gaussians: In the frame of the cameras.
        cameras: What to look from.
    """
    total = torch.zeros(len(gaussians), dtype=torch.float64)
    if len(gaussians) == 0:
        return total.float()
    means, quats = gaussians.means.detach(), gaussians.quats.detach()
    scales = gaussians.log_scales.detach().exp()
    opacities = gaussians.logit_opacities.detach().sigmoid()
    near = near_plane(gaussians)
    for index in range(len(cameras)):
        colors = means.new_ones(len(means), 1).requires_grad_()
        view = cameras[[index]]
        image, _, _ = rasterization(
            means,
            quats,
            scales,
            opacities,
            colors,
            view.viewmats.to(means),
            view.Ks.to(means),
            view.width,
            view.height,
            near_plane=near,
            camera_model=view.model,
        )
        (weights,) = torch.autograd.grad(image.sum(), colors)
        total += weights[:, 0].cpu()
    return total.float()


def halved(cameras: Cameras) -> Cameras:
    """The same views at half the resolution."""
    width, height = max(1, cameras.width // 2), max(1, cameras.height // 2)
    Ks = cameras.Ks.clone()
    Ks[:, 0] *= width / cameras.width
    Ks[:, 1] *= height / cameras.height
    return replace(cameras, Ks=Ks, width=width, height=height)


def apparent_area(gaussians: Gaussians) -> Float[Tensor, "N"]:
    """Opacity times area over squared distance, seen from about the middle of a scene.

    What lies farther from the middle than its core is looked at from there; what lies inside, from
    the core's edge. Needs no rendering and forgets nothing that some camera might see.
    """
    if len(gaussians) == 0:
        return torch.zeros(0)
    center, radius = core(gaussians)
    squared = (gaussians.means.detach().double() - center).square().sum(dim=1)
    area = visible_importance(gaussians).detach().double()
    return (area / (squared + _INSIDE * radius**2)).float()


def contributing(weights: Float[Tensor, "N"], *, idle_share: float) -> Int64[Tensor, "M"]:
    """The Gaussians that are left when those of least weight go, in their order.

    Args:
        weights: `blending_weights`.
        idle_share: Of the sum of all weights that may go, below 1.
    """
    if len(weights) == 0:
        return torch.zeros(0, dtype=torch.int64)
    order = weights.argsort(stable=True)
    spent = weights[order].double().cumsum(0)
    gone = int(torch.searchsorted(spent, idle_share * spent[-1]))
    return order[gone:].sort().values
