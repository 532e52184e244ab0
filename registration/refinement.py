"""Generalized ICP with a robust kernel, for rigid motions and similarities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .kernels import kernels
from .preparation import Prepared

_TOLERANCE = 1e-5  # radians of the last step


@dataclass(frozen=True)
class Refined:
    """A pose after refinement."""

    pose: NDArray[np.float64]
    """[13]: rotation row by row, translation, scale; from the centered source to the centered
    target."""
    hessian: NDArray[np.float64]
    """[7, 7] of the last step in (rotation, translation, log scale) about the target's middle, in
    units of the squared noise of a surface patch."""
    pairs: int
    """Points that had a partner."""


def refine(
    source: Prepared,
    target: Prepared,
    pose: NDArray[np.float64],
    *,
    reach: float = 3.0,
    steps: int = 12,
    width: tuple[float, float] = (1.0, 0.25),
    with_scale: bool = False,
) -> Refined:
    """Move `pose` to the nearest minimum of the distances between surface patches.

    Reference: Segal, Haehnel and Thrun, "Generalized-ICP", RSS 2009; the kernel is Geman and
    McClure's, whose width shrinks as in graduated non-convexity (Yang et al., RA-L 2020).

    Args:
        source, target: Thinned clouds.
        pose: [13] start.
        reach: Voxels beyond which points are no partners.
        steps: Gauss-Newton steps at most.
        width: First and last width of the kernel, voxels.
        with_scale: Estimate the scale too; partners are then looked for in both directions, so
            that a shrinking source does not pay.
    """
    voxel = target.voxel
    shrink = np.minimum(np.arange(steps) / max(1, steps // 2), 1.0)
    widths = voxel * width[0] * (width[1] / width[0]) ** shrink
    gates = np.stack([np.full(steps, reach * voxel), widths], axis=1).astype(np.float32)
    found, hessian, (_, pairs, _) = kernels().refine(
        source.points,
        source.normals,
        target.grid,
        pose,
        gates,
        with_scale,
        _TOLERANCE,
        target.points if with_scale else None,
        target.normals if with_scale else None,
        source.grid if with_scale else None,
    )
    return Refined(found, hessian, int(pairs))


def matrix_of(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """[4, 4] with the scale inside the upper left block."""
    matrix = np.eye(4)
    matrix[:3, :3] = pose[12] * pose[:9].reshape(3, 3)
    matrix[:3, 3] = pose[9:12]
    return matrix


def pose_of(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """[13] of a similarity [4, 4]; the rotation is made orthogonal."""
    u, s, vt = np.linalg.svd(matrix[:3, :3])
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    return np.concatenate([rotation.ravel(), matrix[:3, 3], [s.mean()]])
