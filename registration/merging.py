"""An aligned source and its target as one cloud or scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from splats import Gaussians

from .clouds import Cloud
from .kernels import kernels
from .result import Registration
from .units import measure

_NEAR = 1.0  # voxels


def transformed(cloud: Cloud, registration: Registration) -> Cloud:
    """`cloud`, or the splat scene it was taken from, in the frame of the target."""
    gaussians = cloud.gaussians
    if gaussians is not None:
        gaussians = gaussians.transformed(registration.similarity)
    return replace(cloud, points=registration.apply(cloud.points), gaussians=gaussians)


def merge(source: Cloud, target: Cloud, registration: Registration) -> Cloud:
    """The target, and what the source shows that the target does not.

    Where both show a surface, doubled points or Gaussians would thicken it (and Gaussians make it
    too opaque), so that the source is kept only farther than one voxel from the target.
    """
    moved = transformed(source, registration)
    voxel = max(measure(cloud.points).voxel() for cloud in (target, moved))
    if moved.gaussians is None or target.gaussians is None:
        kept = _new(moved.points, target.points, voxel)
        colors = None
        if moved.colors is not None and target.colors is not None:
            colors = np.concatenate([target.colors, moved.colors[kept]])
        return Cloud(np.concatenate([target.points, moved.points[kept]]), colors)
    means = moved.gaussians.means.double().cpu().numpy()
    known = target.gaussians.means.double().cpu().numpy()
    kept = torch.from_numpy(_new(means, known, voxel))
    gaussians = _joined(target.gaussians, moved.gaussians[kept])
    return Cloud(np.concatenate([target.points, moved.points]), None, None, gaussians)


def _new(
    points: NDArray[np.float64], known: NDArray[np.float64], voxel: float
) -> NDArray[np.bool_]:
    """Which points lie farther than a voxel from all `known`."""
    middle = np.median(known, axis=0)
    tree = kernels().KdTree((known - middle).astype(np.float32))
    indices, _ = tree.nearest((points - middle).astype(np.float32), _NEAR * voxel)
    return indices < 0


def _joined(a: Gaussians, b: Gaussians) -> Gaussians:
    """Both sets; the lower degree of harmonics is filled up with zeros."""
    rest = max(a.shN.shape[1], b.shN.shape[1])

    def padded(shN: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(shN, (0, 0, 0, rest - shN.shape[1]))

    return Gaussians(
        means=torch.cat([a.means, b.means]),
        quats=torch.cat([a.quats, b.quats]),
        log_scales=torch.cat([a.log_scales, b.log_scales]),
        logit_opacities=torch.cat([a.logit_opacities, b.logit_opacities]),
        sh0=torch.cat([a.sh0, b.sh0]),
        shN=torch.cat([padded(a.shN), padded(b.shN)]),
    )
