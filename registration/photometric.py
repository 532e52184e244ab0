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

_VIEWS, _TRIED_VIEWS = 4, 24
_WIDTH, _HEIGHT = 160, 120
_SCALE = 0.1  # of residuals: those far above it come from what only one scene shows
_STEPS = 8
_LEAST_GAIN = 0.02  # of the error: less says no more than the geometry has said
_DELTA = 2e-3
_DAMPING = 1e-3


@dataclass(frozen=True)
class PhotometricResult:
    """The refined pose and how well the renders agree."""

    registration: Registration
    """With the new transform, or what was given where renders agree hardly better; the evidence is
    that of before."""
    errors: tuple[float, float]
    """Robust mean square difference of the renders before and after, in squared colors."""


def refine_by_renders(
    found: Registration, source: Gaussians, target: Gaussians, *, with_scale: bool = False
) -> PhotometricResult:
    """Gauss-Newton on the pixels that both scenes show, over rotation, translation and scale.

    Of cameras all around, those four are taken from which both scenes look most alike: photos were
    never taken from everywhere, and what none has seen, each training fills in its own way. The
    same holds within an image, so that residuals count by Cauchy's function. Derivatives are
    central differences about the middle of the target: two renders per parameter and no gradient
    of the rasterizer.

    Args:
        found: A registration within a few degrees of the truth.
        source, target: The scenes, on one device.
        with_scale: Refine the scale too.
    """
    cameras = _telling_cameras(source.transformed(found.similarity), target)
    goal = _render(target, cameras)
    center = target.means.median(dim=0).values.double()
    radius = float((target.means.double() - center).norm(dim=1).median())
    count = 7 if with_scale else 6
    pose = found.similarity
    first = error = _error(source, pose, cameras, goal)
    damping = _DAMPING
    for _ in range(_STEPS):
        columns = []
        for k in range(count):
            step = torch.zeros(7, dtype=torch.float64)
            step[k] = _DELTA
            ahead = _render(source.transformed(_stepped(pose, step, center, radius)), cameras)
            back = _render(source.transformed(_stepped(pose, -step, center, radius)), cameras)
            columns.append((ahead - back).flatten() / (2 * _DELTA))
        jacobian = torch.stack(columns, dim=1).double()
        image = _render(source.transformed(pose), cameras)
        residual = (image - goal).flatten().double()
        weights = 1 / (1 + (residual / _SCALE) ** 2)
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
    if error > (1 - _LEAST_GAIN) * first:
        return PhotometricResult(found, (first, first))
    refined = replace(found, T_target_source=pose.matrix().numpy(), scale=pose.scale)
    return PhotometricResult(refined, (first, error))


def _telling_cameras(source: Gaussians, target: Gaussians) -> Cameras:
    """Those all around the target that show most of both scenes alike."""
    cameras = automatic_cameras(SplatScene(target), _TRIED_VIEWS, width=_WIDTH, height=_HEIGHT)
    errors = _robust(_render(source, cameras) - _render(target, cameras)).mean(dim=(1, 2, 3))
    return cameras[errors.argsort()[:_VIEWS].tolist()]


def _render(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """Images [V, H, W, 3] over black."""
    output = SplatScene(gaussians).render(cameras, channels=("rgb",))
    assert output.rgb is not None
    return output.rgb


def _robust(residuals: Tensor) -> Tensor:
    """Cauchy's function of each: nearly the square of small ones."""
    return _SCALE**2 * torch.log1p((residuals / _SCALE) ** 2)


def _error(source: Gaussians, pose: Similarity, cameras: Cameras, goal: Tensor) -> float:
    return float(_robust(_render(source.transformed(pose), cameras) - goal).mean())


def _stepped(pose: Similarity, step: Tensor, center: Tensor, radius: float) -> Similarity:
    """`pose`, then a small turn, shift (in radii) and growth about `center`."""
    x, y, z = step[:3].tolist()
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    rotation = torch.linalg.matrix_exp(skew)
    scale = math.exp(float(step[6]))
    shift = center - scale * rotation @ center + radius * step[3:6]
    return Similarity(scale, rotation, shift).compose(pose)
