"""One measure of how well a pose explains two clouds, whatever proposed it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .matching import Matches
from .preparation import Prepared

_SEEN = 2.0
_ON_SURFACE = 0.5
_PARALLEL = 0.75
_SUPPORT = 2.0


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against one pose."""

    overlap: float
    """Share of the source's points that lie on the target's surface with its direction."""
    overlap_target: float
    """The same with the roles exchanged."""
    inlier_ratio: float
    """Of the points of both clouds near the other one, the share that lies on its surface."""
    rmse: float
    """Root mean square distance of those from the surface, target units."""
    support: int
    """Feature matches that the pose maps onto each other."""
    support_ratio: float
    """Their share of all matches."""


def gather_evidence(
    source: Prepared, target: Prepared, matches: Matches, pose: NDArray[np.float64]
) -> Evidence:
    """Compare both clouds under `pose` [13], in both directions."""
    rotation, shift, scale = pose[:9].reshape(3, 3), pose[9:12], pose[12]
    placed = (scale * source.points @ rotation.T + shift).astype(np.float32)
    turned = (source.normals @ rotation.T).astype(np.float32)
    forth = _compare(placed, turned, target.tree, target.points, target.normals, target.voxel)
    back_points = ((target.points - shift) @ rotation / scale).astype(np.float32)
    back_normals = (target.normals @ rotation).astype(np.float32)
    back = _compare(
        back_points, back_normals, source.tree, source.points, source.normals,
        target.voxel / scale,
    )  # fmt: skip
    seen = max(1.0, forth[0] + back[0])
    squares = (forth[2] + back[2] * scale**2) / max(1.0, forth[1] + back[1])
    gap = placed[matches.source] - target.points[matches.target]
    support = int((np.linalg.norm(gap, axis=1) < _SUPPORT * target.voxel).sum())
    return Evidence(
        overlap=forth[1] / len(source.points),
        overlap_target=back[1] / len(target.points),
        inlier_ratio=(forth[1] + back[1]) / seen,
        rmse=float(np.sqrt(squares)),
        support=support,
        support_ratio=support / max(1, len(matches)),
    )


def _compare(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    tree: object,
    others: NDArray[np.float32],
    other_normals: NDArray[np.float32],
    voxel: float,
) -> tuple[float, float, float]:
    """Points near the other cloud, those of them on its surface, and their summed squares."""
    indices, _ = tree.nearest(points, _SEEN * voxel)  # type: ignore[attr-defined]
    near = indices >= 0
    found = indices[near]
    gaps = ((points[near] - others[found]) * other_normals[found]).sum(1)
    along = np.abs((normals[near] * other_normals[found]).sum(1))
    agree = (np.abs(gaps) < _ON_SURFACE * voxel) & (along > _PARALLEL)
    return float(near.sum()), float(agree.sum()), float((gaps[agree] ** 2).sum())
