"""One measure of how well a pose explains two clouds, whatever proposed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .belief import BIAS, CONVINCING, WEIGHTS
from .matching import Matches
from .preparation import Prepared
from .refinement import Refined

_SEEN = 2.0
_ON_SURFACE = 0.5
_PARALLEL = 0.75
_SUPPORT = 2.0
FEATURES = (
    "overlap", "inliers", "coincidence", "support", "share", "diversity", "likeness", "stiffness",
    "lead",
)  # fmt: skip
"""Names of `Evidence.features`; each speaks for a pose the more, the larger it is."""
_COINCIDENT = 0.65
"""Share of the points near each other that coincide in right poses; more says nothing more."""
_WEIGHTS = np.array([WEIGHTS[name] for name in FEATURES])
_CHANCE = 5.0
"""Matches that nearly any pose maps, added to both sides of a lead."""
_DIVERSE = 0.03
"""Diversity from which on matches fix a pose, however many planes they lie on."""


@dataclass(frozen=True)
class Support:
    """Feature matches of all levels: what a right pose must map onto each other."""

    source: NDArray[np.float32]
    """[m, 3] points of the source."""
    target: NDArray[np.float32]
    """[m, 3] their matches in the target."""
    normals: NDArray[np.float32]
    """[m, 3] of those in the target."""
    reach: NDArray[np.float32]
    """[m] distance within which a match counts as mapped, target units."""

    @classmethod
    def of(cls, levels: list[tuple[Prepared, Prepared, Matches]]) -> Support:
        """The matches of several levels together."""
        return cls(
            np.concatenate([a.points[m.source] for a, _, m in levels]),
            np.concatenate([b.points[m.target] for _, b, m in levels]),
            np.concatenate([b.normals[m.target] for _, b, m in levels]),
            np.concatenate([np.full(len(m), _SUPPORT * b.voxel, np.float32) for _, b, m in levels]),
        )

    def mapped(self, pose: NDArray[np.float64]) -> NDArray[np.bool_]:
        """[m] whether a pose [13] maps each match within reach."""
        matrix = (pose[12] * pose[:9].reshape(3, 3)).astype(np.float32)
        gaps = self.source @ matrix.T + (pose[9:12].astype(np.float32) - self.target)
        return np.einsum("ij,ij->i", gaps, gaps) < self.reach**2

    def counts(self, poses: NDArray[np.float64]) -> NDArray[np.int64]:
        """[k] matches that each pose [k, 13] maps within reach."""
        return np.array([self.mapped(pose).sum() for pose in poses], np.int64)

    def shares(self, poses: NDArray[np.float64]) -> NDArray[np.float64]:
        """[k] the same as shares of all matches."""
        return self.counts(poses) / max(1, len(self.reach))


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
    diversity: float
    """Smallest share of the squared normals of those matches along one direction, 0 to 1/3: nearly
    0 where all lie on one plane or on planes along one line, which fix no pose."""
    likeness: float
    """Correlation of the features of coinciding points, -1 to 1: chance contacts of unlike surfaces
    and of mirror images have little."""
    stiffness: float
    """Smallest over largest eigenvalue of the refinement's Hessian at unit size: how firmly the
    surfaces hold the pose in its weakest direction."""
    rival_support: int = 0
    """Matches that the best clearly different pose maps onto each other: chance agreements come in
    many alike, a right pose stands alone."""

    @property
    def features(self) -> NDArray[np.float64]:
        """[9] what `FEATURES` names; shares as logarithms, as halving any is alike bad."""
        shared = min(self.overlap, self.overlap_target)
        return np.array(
            [
                np.log(shared + 1e-3),
                self.inlier_ratio,
                min(self.inlier_ratio, _COINCIDENT),
                np.log1p(self.support),
                np.log(self.support_ratio + 1e-2),
                np.log(min(self.diversity, _DIVERSE) + 1e-3),
                self.likeness,
                np.log(self.stiffness + 1e-3),
                np.log((self.support + _CHANCE) / (self.rival_support + _CHANCE)),
            ]
        )

    @property
    def log_odds(self) -> float:
        """Log-odds that the pose is right."""
        return float(BIAS + self.features @ _WEIGHTS)

    @property
    def convincing(self) -> bool:
        """Whether to call the clouds aligned."""
        return self.log_odds > CONVINCING

    def doubt(self) -> str:
        """Why not."""
        return (
            f"The evidence is too weak: {self.support} matching features, "
            f"{100 * self.overlap:.0f} % of the source on the target."
        )


def gather_evidence(
    source: Prepared, target: Prepared, support: Support, refined: Refined
) -> Evidence:
    """Compare both clouds under a pose, in both directions."""
    pose = refined.pose
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
    mapped = support.mapped(pose)
    count = int(mapped.sum())
    return Evidence(
        overlap=forth[1] / len(source.points),
        overlap_target=back[1] / len(target.points),
        inlier_ratio=(forth[1] + back[1]) / seen,
        rmse=float(np.sqrt(squares)),
        support=count,
        support_ratio=count / max(1, len(support.reach)),
        likeness=_likeness(source, target, placed),
        diversity=_diversity(support.normals[mapped]),
        stiffness=_stiffness(refined.hessian[:6, :6], target),
    )


def _likeness(source: Prepared, target: Prepared, placed: NDArray[np.float32]) -> float:
    """Features less their mean, as in the selection of UMERegRobust (section 3.4)."""
    indices, _ = target.tree.nearest(placed, target.voxel)
    near = indices >= 0
    if near.sum() < 3:
        return 0.0
    a, b = source.histograms[near], target.histograms[indices[near]]
    mean = (source.histograms.mean(0) + target.histograms.mean(0)) / 2
    a, b = (a - mean).astype(np.float64), (b - mean).astype(np.float64)
    return float((a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-12))


def _diversity(normals: NDArray[np.float32]) -> float:
    if len(normals) == 0:
        return 0.0
    rows = normals.astype(np.float64)
    return float(max(np.linalg.eigvalsh(rows.T @ rows / len(rows))[0], 0.0))


def _radius(target: Prepared) -> float:
    """Root mean square distance of the points from their origin."""
    return float(np.sqrt((target.points.astype(np.float64) ** 2).sum(1).mean()))


def _stiffness(hessian: NDArray[np.float64], target: Prepared) -> float:
    """Rotations are measured by the shift they give at the radius of the target."""
    sizes = np.array([1 / _radius(target)] * 3 + [1.0] * 3)
    values = np.linalg.eigvalsh(hessian * np.outer(sizes, sizes))
    return float(max(values[0], 0.0) / max(values[-1], 1e-300))


def _compare(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    tree: Any,
    others: NDArray[np.float32],
    other_normals: NDArray[np.float32],
    voxel: float,
) -> tuple[float, float, float]:
    """Points near the other cloud, those of them on its surface, and their summed squares."""
    indices, _ = tree.nearest(points, _SEEN * voxel)
    near = indices >= 0
    found = indices[near]
    gaps = ((points[near] - others[found]) * other_normals[found]).sum(1)
    along = np.abs((normals[near] * other_normals[found]).sum(1))
    agree = (np.abs(gaps) < _ON_SURFACE * voxel) & (along > _PARALLEL)
    return float(near.sum()), float(agree.sum()), float((gaps[agree] ** 2).sum())
