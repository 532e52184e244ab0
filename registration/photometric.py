"""Pose of one splat scene on another refined by comparing their renders."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captures import Cameras, Similarity
from splats import Gaussians
from splats.formats.cameras import automatic_cameras
from splats.scene import SplatScene

from .result import Registration

_VIEWS, _WIDTH, _HEIGHT = 4, 160, 120
_STEPS = 8
_DELTA = 2e-3
_DAMPING = 1e-3


@dataclass(frozen=True)
class PhotometricResult:
    """The refined pose and how well the renders agree."""

    registration: Registration
    """With the new transform; the evidence is that of before."""
    psnr: tuple[float, float]
    """Of the moved source's renders against the target's before and after, decibels."""


def refine_by_renders(
    found: Registration, source: Gaussians, target: Gaussians, *, with_scale: bool = False
) -> PhotometricResult:
    """Gauss-Newton on the pixels that both scenes show, over rotation, translation and scale.

    Four cameras look at the target; derivatives are taken by central differences about the middle
    of the target: two renders per parameter and no gradient of the rasterizer.

    Args:
        found: A registration within a few degrees of the truth.
        source, target: The scenes, on one device.
        with_scale: Refine the scale too.
    """
    scene = SplatScene(target)
    cameras = automatic_cameras(scene, _VIEWS, width=_WIDTH, height=_HEIGHT)
    goal, _ = _render(target, cameras)
    center = target.means.median(dim=0).values.double()
    radius = float((target.means.double() - center).norm(dim=1).median())
    count = 7 if with_scale else 6
    pose = found.similarity
    error = _error(source, pose, cameras, goal)
    first = error
    damping = _DAMPING
    for _ in range(_STEPS):
        columns = []
        for k in range(count):
            step = torch.zeros(7, dtype=torch.float64)
            step[k] = _DELTA
            ahead, _ = _render(source.transformed(_stepped(pose, step, center, radius)), cameras)
            back, _ = _render(source.transformed(_stepped(pose, -step, center, radius)), cameras)
            columns.append((ahead - back).flatten() / (2 * _DELTA))
        jacobian = torch.stack(columns, dim=1).double()
        image, _ = _render(source.transformed(pose), cameras)
        residual = (image - goal).flatten().double()
        weights = 1 / (1 + (residual / 0.1) ** 2)  # Cauchy: what only one scene shows counts less
        hessian = jacobian.T @ (jacobian * weights[:, None])
        gradient = jacobian.T @ (weights * residual)
        hessian += damping * torch.diag(hessian.diagonal().clamp(min=1e-12))
        step = torch.zeros(7, dtype=torch.float64)
        step[:count] = -torch.linalg.solve(hessian, gradient)
        candidate = _stepped(pose, step, center, radius)
        new = _error(source, candidate, cameras, goal)
        if not new < error:
            damping *= 10
            if damping > 1e3:
                break
            continue
        gain, pose, error, damping = (error - new) / error, candidate, new, damping / 3
        if gain < 1e-3 or error < 1e-8:
            break
    refined = replace(found, T_target_source=pose.matrix().numpy(), scale=pose.scale)
    return PhotometricResult(refined, (_psnr(first), _psnr(error)))


def _render(gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Images [V, H, W, 3] over black, and alphas."""
    output = SplatScene(gaussians).render(cameras, channels=("rgb", "alpha"))
    assert output.rgb is not None and output.alpha is not None
    return output.rgb, output.alpha


def _error(source: Gaussians, pose: Similarity, cameras: Cameras, goal: Tensor) -> float:
    image, _ = _render(source.transformed(pose), cameras)
    return float((image - goal).square().mean())


def _psnr(error: float) -> float:
    return 100.0 if error <= 1e-10 else -10 * math.log10(error)


def _stepped(pose: Similarity, step: Tensor, center: Tensor, radius: float) -> Similarity:
    """`pose`, then a small turn, shift (in radii) and growth about `center`."""
    x, y, z = step[:3].tolist()
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    rotation = torch.linalg.matrix_exp(skew)
    scale = math.exp(float(step[6]))
    shift = center - scale * rotation @ center + radius * step[3:6]
    return Similarity(scale, rotation, shift).compose(pose)
