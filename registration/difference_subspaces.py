"""Differences of subspaces: what changes between two, and how the change itself changes.

The first-order difference D(S1, S2) is spanned by differences of canonical vectors, the mean
M(S1, S2) by their sums. D(M(S1, S3), S2) is the second-order difference: the subspace form of the
central second difference, zero where the three lie evenly on one geodesic.

Reference: Fukui, Valois, Souza and Kobayashi, "Second-order difference subspace",
arXiv 2409.08563.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

_SAME = 1e-10  # sine of an angle below which canonical vectors coincide


@dataclass(frozen=True)
class DifferenceSubspace:
    """What two subspaces do not share."""

    basis: Float[np.ndarray, "n m"]
    """Orthonormal; one column for every canonical angle that is not zero."""
    angles: Float[np.ndarray, "d"]
    """Canonical angles in radians, rising."""

    @property
    def magnitude(self) -> float:
        """Length of the Grassmann geodesic between the two: the root of the squared angles' sum."""
        return float(np.linalg.norm(self.angles))


@dataclass(frozen=True)
class SubspaceMotion:
    """Speed and acceleration of a series of subspaces at equal time steps."""

    speed: Float[np.ndarray, "A"]
    """Magnitude of D(S_t, S_t+1), [T - 1] radians per step."""
    acceleration: Float[np.ndarray, "B"]
    """Twice the magnitude of D(M(S_t-1, S_t+1), S_t), [T - 2] radians per step squared: as
    |x_1 - 2 x_2 + x_3| = 2 |x_2 - (x_1 + x_3) / 2|."""


def orthonormal(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n r"]:
    """An orthonormal basis of the span of the columns; r is their rank.

    Raises:
        ValueError: Numbers that are not finite, or only zeros.
    """
    if not np.isfinite(vectors).all():
        raise ValueError("`vectors` must be finite, got NaN or infinity.")
    u, s, _ = np.linalg.svd(vectors, full_matrices=False)
    rank = int((s > 1e-9 * max(float(s.max(initial=0.0)), 1e-300)).sum())
    if rank == 0:
        raise ValueError("`vectors` must span something, got only zeros.")
    return u[:, :rank]


def shape_subspace(points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N r"]:
    """The span of a shape's coordinates about their mean: the same for every affine map of it.

    Points of different shapes must correspond by their order.
    """
    return orthonormal(points - points.mean(axis=0))


def moment_subspace(
    points: Float[np.ndarray, "N 3"], anchors: Float[np.ndarray, "A 3"], width: float
) -> Float[np.ndarray, "A r"]:
    """The span of a scan's moments about fixed anchors: for series of scans of one place.

    Row k holds sum_i w_k(x_i) (1, x_i - anchor_k), with Gaussian weights of deviation `width`,
    divided by the number of points. Nothing has to correspond but the frame of the scans.
    """
    if not width > 0:
        raise ValueError(f"`width` must be positive, in the unit of the points, got {width}.")
    away = points[None] - anchors[:, None]
    weights = np.exp(-0.5 * (away**2).sum(axis=2) / width**2) / len(points)
    first = (weights[..., None] * away).sum(axis=1) / width
    return orthonormal(np.concatenate([weights.sum(axis=1)[:, None], first], axis=1))


def difference(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> DifferenceSubspace:
    """D(a, b) of two subspaces of equal dimension, given by orthonormal columns."""
    u, v, angles = _canonical(a, b)
    gaps = u - v
    lengths = np.linalg.norm(gaps, axis=0)
    kept = lengths > _SAME
    return DifferenceSubspace(gaps[:, kept] / lengths[kept], angles)


def mean_subspace(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> np.ndarray:
    """M(a, b), the middle of the geodesic between two subspaces; orthonormal columns.

    Raises:
        ValueError: A canonical angle is 90 degrees, so that the middle is not unique.
    """
    u, v, angles = _canonical(a, b)
    if angles.max(initial=0.0) > np.pi / 2 - 1e-8:
        raise ValueError("`a` and `b` are at a right angle in one direction: no unique mean.")
    sums = u + v
    return sums / np.linalg.norm(sums, axis=0)


def second_difference(
    before: Float[np.ndarray, "n d"],
    now: Float[np.ndarray, "n d"],
    after: Float[np.ndarray, "n d"],
) -> DifferenceSubspace:
    """D(M(before, after), now)."""
    return difference(mean_subspace(before, after), now)


def motion(series: Sequence[np.ndarray]) -> SubspaceMotion:
    """Speeds and accelerations of a series of subspaces, each [n, d] with orthonormal columns.

    Raises:
        ValueError: Fewer than two subspaces, or of different shapes.
    """
    shapes = {subspace.shape for subspace in series}
    if len(series) < 2 or len(shapes) > 1:
        raise ValueError(
            f"`series` must be two subspaces or more of one shape, got {len(series)} with shapes "
            f"{sorted(shapes)}."
        )
    speed = [difference(a, b).magnitude for a, b in pairwise(series)]
    triples = zip(series, series[1:], series[2:], strict=False)
    acceleration = [2 * second_difference(a, b, c).magnitude for a, b, c in triples]
    return SubspaceMotion(np.array(speed), np.array(acceleration))


def _canonical(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canonical vectors u_i, v_i and angles, rising; accurate near 0 and near 90 degrees."""
    if a.shape != b.shape or a.shape[0] < a.shape[1]:
        raise ValueError(
            f"subspaces must have one shape [n, d], d <= n, got {list(a.shape)}, {list(b.shape)}."
        )
    left, cosines, right = np.linalg.svd(a.T @ b)
    u, v = a @ left, b @ right.T
    sines = np.linalg.norm(u - v, axis=0) / 2  # of half the angle
    return u, v, 2 * np.arctan2(sines, np.sqrt((1 + np.clip(cosines, -1, 1)) / 2))
