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
from ..rasterizer.backend import ALPHA_THRESHOLD
from ..scene import near_plane

_FAINTEST = 1.001 * ALPHA_THRESHOLD
"""Opacity that no pixel shows: at the very threshold, as in files of eight bits, none does."""
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
    near = near_plane(gaussians)
    for index in range(len(cameras)):
        colors = torch.ones_like(gaussians.means[:, :1]).requires_grad_()
        opacities = gaussians.logit_opacities.detach().sigmoid()
        image = _image(gaussians, cameras[[index]], near, opacities, colors)
        (weights,) = torch.autograd.grad(image.sum(), colors)
        total += weights[:, 0].cpu()
    return total.float()


def removal_errors(gaussians: Gaussians, cameras: Cameras, *, seed: int = 0) -> Float[Tensor, "N"]:
    """How much pictures change if a Gaussian goes and what is behind it shows instead: the sum of
    squares over all pixels of all cameras, before random backgrounds.

    A pixel is linear in one Gaussian's opacity, but for the limits of what is blended, and so
    changes by the opacity times its derivative. The sum of squares of the derivatives is the
    expected square of one derivative of the pixels' sum with random signs (Hutchinson 1990), which
    is taken once per camera.

    Args:
        gaussians: In the frame of the cameras.
        cameras: What to look from.
        seed: Of signs and backgrounds.
    """
    random = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(gaussians), dtype=torch.float64)
    if len(gaussians) == 0:
        return total.float()
    sh0, shN, near = gaussians.sh0.detach(), gaussians.shN.detach(), near_plane(gaussians)
    for index in range(len(cameras)):
        opacities = gaussians.logit_opacities.detach().sigmoid().requires_grad_()
        background = torch.rand(1, 3, generator=random).to(sh0)
        view = cameras[[index]]
        image = _image(gaussians, view, near, opacities, sh0, sh_rest=shN, backgrounds=background)
        signs = torch.randint(2, image.shape, generator=random) * 2 - 1
        (slope,) = torch.autograd.grad((image * signs.to(image)).sum(), opacities)
        total += (slope * opacities.detach()).double().square().cpu()
    return total.float()


def _image(
    gaussians: Gaussians,
    view: Cameras,
    near: float,
    opacities: Float[Tensor, "N"],
    colors: Float[Tensor, "N ..."],
    *,
    sh_rest: Float[Tensor, "N rest 3"] | None = None,
    backgrounds: Float[Tensor, "1 3"] | None = None,
) -> Float[Tensor, "1 H W D"]:
    """Of one camera; `colors` are those of degree 0 where the others are given."""
    means = gaussians.means.detach()
    image, _, _ = rasterization(
        means,
        gaussians.quats.detach(),
        gaussians.log_scales.detach().exp(),
        opacities,
        colors,
        view.viewmats.to(means),
        view.Ks.to(means),
        view.width,
        view.height,
        sh_degree=None if sh_rest is None else gaussians.sh_degree,
        sh_rest=sh_rest,
        backgrounds=backgrounds,
        near_plane=near,
        camera_model=view.model,
    )
    return image


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
    the core's edge. Needs no rendering and forgets nothing that some camera might see: zero is only
    what is too faint for any pixel, of which files of eight-bit opacities have some.
    """
    if len(gaussians) == 0:
        return torch.zeros(0)
    center, radius = core(gaussians)
    squared = (gaussians.means.detach().double() - center).square().sum(dim=1)
    area = visible_importance(gaussians).detach().double()
    shows = gaussians.logit_opacities.detach().sigmoid() > _FAINTEST
    return (shows * area / (squared + _INSIDE * radius**2)).float()


def contributing(weights: Float[Tensor, "N"], *, idle_share: float) -> Int64[Tensor, "M"]:
    """The Gaussians that are left when those of least weight go, in their order. Those of no weight
    go at any share, unless all are.

    Args:
        weights: `blending_weights`.
        idle_share: Of the sum of all weights that may go, below 1.
    """
    if not weights.any():
        return torch.arange(len(weights))
    order = weights.argsort(stable=True)
    spent = weights[order].double().cumsum(0)
    gone = int(torch.searchsorted(spent, idle_share * spent[-1]))
    gone = max(gone, int((weights == 0).sum()))
    return order[gone:].sort().values
