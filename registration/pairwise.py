"""Register one cloud to another: candidates from independent methods, one verifier, one answer."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import check_points, check_shape
from .clouds import Cloud, as_cloud
from .hypotheses import poses_of_matches
from .kernels import kernels
from .matching import Matches, match_features
from .preparation import NORMAL_RADIUS, Prepared, prepare
from .refinement import matrix_of, refine
from .result import Hypothesis, Registration
from .ume import RADIUS, ColorFunction, embed, joint_colors, poses_of_embeddings
from .units import Units, measure
from .verification import CONVINCING, Evidence, Support, gather_evidence

_logger = logging.getLogger(__name__)

LEVELS = (2000, 5000)
"""Voxels per cloud at which features are matched, coarse first; candidates are compared at the
last. A third of 10,000 finds corners of rooms that are alike though they are others."""
_SCALE_SHIFTS = (1.0, 1.35, 0.74, 1.8, 0.55)
_CANDIDATES = 6
_FINE = (0.5,)  # voxels of the answer over those of the last level
_FINE_WITH_SCALE = (0.5, 0.35, 0.25, 0.18)  # coarse ones let scale and shift trade
_APART_RADIANS = 0.15
_APART_VOXELS = 4.0
_AMBIGUOUS = 0.97
_EARLY = 2.0  # more log-odds where a finer level might still find better
_CLEAN = 0.86  # share of inliers above which mirror images are not tried: few of them reach it
_MIRROR_INLIERS = 0.12  # more of them by which a mirror image must win: a symmetric thing fits both
_MIRROR_ODDS = 1.0  # the same in log-odds


def register(
    source: Any,
    target: Any,
    *,
    with_scale: bool = False,
    colors: ColorFunction | None = None,
) -> Registration:
    """The pose of `source` in the frame of `target`, from any start and without settings.

    Lengths (voxels, radii, bounds) follow from the clouds. Feature matches and moment matches
    (`ume`) propose poses, generalized ICP refines the best, and one verifier compares them: what it
    does not believe is returned with `converged` False and a `reason`.

    Args:
        source, target: Arrays [N, 3], Open3D or trimesh objects, `Gaussians`, clouds or paths; see
            `as_cloud`.
        with_scale: Estimate the scale too, 0.1 to 10; without it both must have one unit.
        colors: Invariant colors for the moments, such as `Coloring.load(path).of_cloud`; None
            takes clusters of shape features.

    Returns:
        The registration. Equal inputs give equal bits at any number of threads.

    Raises:
        TypeError, ValueError: Inputs that are no clouds of at least 3 different finite points.
    """
    clouds = (as_cloud(source, name="source"), as_cloud(target, name="target"))
    check_points(clouds[0], name="source")
    check_points(clouds[1], name="target")
    units = (measure(clouds[0].points), measure(clouds[1].points))
    reason = check_shape(units, with_scale=with_scale)
    if reason:
        return _nothing(reason)
    search = Search(units, with_scale=with_scale, colors=colors)
    best = search.run()
    if best is None:
        return _nothing("No candidate pose was found; the clouds may show different places.")
    found = search.answer(best)
    if found.converged and search.mirror_image_wins(clouds[0], best):
        return replace(found, converged=False, reason=_MIRRORED)
    return found


_MIRRORED = "The mirror image of the source fits the target better: one of the two is mirrored."


def _nothing(reason: str) -> Registration:
    return Registration(np.eye(4), 1.0, 0.0, 0.0, 0.0, False, reason=reason)


@dataclass(frozen=True)
class _Level:
    """Both clouds at one voxel size and what their features say."""

    source: Prepared
    target: Prepared
    matches: Matches


@dataclass(frozen=True)
class Candidate:
    """A refined pose with what speaks for it."""

    pose: NDArray[np.float64]
    """[13], centered source to centered target."""
    hessian: NDArray[np.float64]
    """[7, 7] of the refinement."""
    evidence: Evidence
    """At the last level."""
    origin: str
    """Which method proposed it."""

    @property
    def score(self) -> float:
        """Log-odds that the pose is right."""
        return self.evidence.log_odds


@dataclass
class Search:
    """The state of one registration."""

    units: tuple[Units, Units]
    """Of source and target."""
    with_scale: bool = False
    """Whether the scale is unknown."""
    colors: ColorFunction | None = None
    """Of the moments; None takes untrained ones."""
    levels: list[_Level] = field(default_factory=list)
    """Voxel sizes so far, coarse first."""
    candidates: list[Candidate] = field(default_factory=list)
    """The best poses so far, the most believable first."""

    def run(self) -> Candidate | None:
        """The most believable candidate after as many methods as it takes."""
        for shift in _SCALE_SHIFTS if self.with_scale else (1.0,):
            self.levels.clear()
            poses = np.zeros((0, 13))
            for count in LEVELS:
                self.levels.append(self._level(count, shift))
                poses = np.concatenate([poses, self._feature_poses(self.levels[-1])])
                self._consider(poses, "features")
                margin = _EARLY if count != LEVELS[-1] else 0.0
                if self._believed(margin):
                    return self.candidates[0]
        self._consider(self._moment_poses(self.levels[-1]), "ume")
        return self.candidates[0] if self.candidates else None

    def _believed(self, margin: float) -> bool:
        return bool(self.candidates) and self.candidates[0].score > CONVINCING + margin

    def _level(self, count: int, shift: float) -> _Level:
        """Both clouds at voxels of which the sparser has about `count`; `shift` changes how much
        larger the source's are assumed to be."""
        voxels = [u.voxel(count) for u in self.units]
        if self.with_scale:
            voxels[0] *= shift
        else:
            voxels = [float(np.sqrt(voxels[0] * voxels[1]))] * 2
        source, target = (prepare(u, v) for u, v in zip(self.units, voxels, strict=True))
        return _Level(source, target, match_features(source, target))

    def _feature_poses(self, level: _Level) -> NDArray[np.float64]:
        return poses_of_matches(
            level.source, level.target, level.matches, with_scale=self.with_scale
        )

    def _moment_poses(self, level: _Level) -> NDArray[np.float64]:
        if self.colors is None:
            colors = joint_colors(level.source, level.target)
        else:
            colors = (self.colors(level.source), self.colors(level.target))
        radii = (RADIUS * level.source.voxel, RADIUS * level.target.voxel)
        return poses_of_embeddings(
            embed(level.source, colors[0]),
            embed(level.target, colors[1]),
            radii=radii,
            with_scale=self.with_scale,
        )

    def _consider(self, poses: NDArray[np.float64], origin: str) -> None:
        """Refine the best of `poses` and of the candidates so far, and sort them."""
        level = self.levels[-1]
        earlier = np.array([c.pose for c in self.candidates]).reshape(-1, 13)
        origins = [c.origin for c in self.candidates] + [origin] * len(poses)
        poses = np.concatenate([earlier, poses])
        if len(poses) == 0:
            return
        support = Support.of([(x.source, x.target, x.matches) for x in self.levels])
        scores = kernels().score_poses(
            level.source.points, level.source.normals, level.target.grid, poses,
            2 * level.target.voxel,
        )  # fmt: skip
        ranking = scores / len(level.source.points) + support.shares(poses)
        self.candidates.clear()  # their evidence may be that of another voxel size
        for index in distinct(poses, ranking, level.target.voxel, _CANDIDATES):
            refined = refine(level.source, level.target, poses[index], with_scale=self.with_scale)
            evidence = gather_evidence(level.source, level.target, support, refined)
            self.candidates.append(
                Candidate(refined.pose, refined.hessian, evidence, origins[index])
            )
        self._compare_support()
        self.candidates.sort(key=lambda item: -item.score)

    def _compare_support(self) -> None:
        """Tell every candidate how many matches the best clearly different one maps.

        Where the scale is unknown, it makes up for shifts, so that only turned poses differ.
        """
        voxel = np.inf if self.with_scale else self.levels[-1].target.voxel
        compared = []
        for item in self.candidates:
            others = [c for c in self.candidates if far_apart(item.pose, c.pose, voxel)]
            rival = max((c.evidence.support for c in others), default=0)
            compared.append(replace(item, evidence=replace(item.evidence, rival_support=rival)))
        self.candidates = compared

    def answer(self, best: Candidate) -> Registration:
        """Refine the winner on finer voxels and say how much it is believed."""
        pose, hessian = best.pose, best.hessian
        for share in _FINE_WITH_SCALE if self.with_scale else _FINE:
            voxels = [u.voxel(LEVELS[-1]) * share for u in self.units]
            if not self.with_scale:
                voxels = [float(np.sqrt(voxels[0] * voxels[1]))] * 2
            source, target = (
                prepare(u, v, radius=NORMAL_RADIUS) for u, v in zip(self.units, voxels, strict=True)
            )
            refined = refine(
                source, target, pose, reach=2.0, steps=10, width=(0.6, 0.2),
                with_scale=self.with_scale,
            )  # fmt: skip
            pose, hessian = refined.pose, refined.hessian
        evidence = best.evidence
        reason = "" if evidence.convincing else evidence.doubt()
        if not reason and self._rival(best):
            reason = "Another pose explains the clouds as well: they are symmetric or repetitive."
        hypotheses = tuple(
            Hypothesis(
                self._matrix(c.pose), c.score, c.evidence.inlier_ratio, c.evidence.overlap, c.origin
            )
            for c in self.candidates
        )
        return Registration(
            T_target_source=self._matrix(pose),
            scale=float(pose[12]),
            inlier_ratio=evidence.inlier_ratio,
            rmse=evidence.rmse,
            overlap=evidence.overlap,
            converged=not reason,
            hypotheses=hypotheses,
            information=hessian[:6, :6],
            reason=reason,
        )

    def mirror_image_wins(self, source: Cloud, found: Candidate) -> bool:
        """Whether a mirror image of the source, at the scale found, fits clearly better.

        Rooms and streets are nearly their own mirror images, so that a pose may explain all but
        their furniture; the image without that mistake explains that, too.
        """
        evidence = found.evidence
        if evidence.inlier_ratio > _CLEAN:
            return False
        mirror = found.pose[12] * np.array([-1.0, 1.0, 1.0])
        image = measure(source.points * mirror.astype(source.points.dtype))
        best = Search((image, self.units[1]), colors=self.colors).run()
        return best is not None and (
            best.evidence.inlier_ratio > evidence.inlier_ratio + _MIRROR_INLIERS
            and best.score > evidence.log_odds + _MIRROR_ODDS
        )

    def _rival(self, best: Candidate) -> bool:
        """Whether a clearly different pose has almost the same evidence."""
        return any(
            far_apart(best.pose, other.pose, self.levels[-1].target.voxel)
            and other.evidence.convincing
            and other.evidence.overlap > _AMBIGUOUS * best.evidence.overlap
            and other.evidence.support > 0.6 * best.evidence.support
            for other in self.candidates
            if other is not best
        )

    def _matrix(self, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        """[4, 4] between the frames of the inputs."""
        matrix = matrix_of(pose)
        matrix[:3, 3] += self.units[1].origin - matrix[:3, :3] @ self.units[0].origin
        return matrix


def far_apart(a: NDArray[np.float64], b: NDArray[np.float64], voxel: float) -> bool:
    """Whether two poses differ by more than refinement would undo."""
    cosine = (np.sum(a[:9] * b[:9]) - 1) / 2
    shift = np.linalg.norm(a[9:12] - b[9:12])
    return bool(np.arccos(np.clip(cosine, -1, 1)) > _APART_RADIANS or shift > _APART_VOXELS * voxel)


def distinct(
    poses: NDArray[np.float64], scores: NDArray[Any], voxel: float, count: int
) -> list[int]:
    """Indices of the best poses, none close to a better one."""
    chosen: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if all(far_apart(poses[index], poses[other], voxel) for other in chosen):
            chosen.append(int(index))
        if len(chosen) == count:
            break
    return chosen
