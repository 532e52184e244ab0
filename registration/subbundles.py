"""Principal subbundles: curves and surfaces as what geodesics of local principal directions sweep.

At every point of space a weighted principal component analysis of the cloud spans k directions.
Geodesics that may only move along these, begun at a point of the cloud, trace out a k-dimensional
submanifold with polar coordinates of its own: no normals, no orientation, no grid.

Reference: Akhoj, Benn, Grong, Sommer and Pennec, "Principal subbundles for dimension reduction",
arXiv 2307.03128.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

_REACH = 3.0  # kernel widths beyond which points have no weight
_MOST_NEIGHBORS = 600
_CHUNK = 4096  # positions evaluated at once


@dataclass(frozen=True)
class Reconstruction:
    """Points that geodesics passed, and how they connect."""

    vertices: Float[np.ndarray, "V d"]
    """Points of the submanifold."""
    faces: Int[np.ndarray, "F M"]
    """Triangles (k = 2) or segments (k = 1) between vertices."""
    bases: Float[np.ndarray, "B d"]
    """Where the charts begin."""


class PrincipalSubbundle:
    """Local principal subspaces of a cloud as functions of position.

    Args:
        points: The cloud, any dimension d.
        k: Dimension of the submanifold, 1 to d - 1.
        width: Standard deviation of the Gaussian weights; None takes the mean distance to the
            12th neighbor for surfaces and twice the 8th for curves. Several noise deviations.

    Raises:
        ValueError: Too few points, numbers that are not finite, or a `k` or `width` out of range.
    """

    def __init__(
        self, points: Float[np.ndarray, "N d"], *, k: int = 2, width: float | None = None
    ) -> None:
        points = np.asarray(points, np.float64)
        n, d = points.shape
        if not np.isfinite(points).all():
            raise ValueError("`points` must be finite; leave out rows with NaN or infinity.")
        if not 1 <= k < d:
            raise ValueError(f"`k` must be from 1 to {d - 1} for points [N, {d}], got {k}.")
        if n < 4 * d:
            raise ValueError(f"`points` must be at least {4 * d}, got {n}.")
        self.points, self.k = points, k
        self.tree = KDTree(points)
        neighbor = 12 if k > 1 else 8
        spacing = float(self.tree.query(points, min(neighbor, n - 1) + 1)[0][:, -1].mean())
        self.width = (spacing if k > 1 else 2 * spacing) if width is None else width
        if not self.width > 0:
            raise ValueError(f"`width` must be positive, got {self.width}; are all points equal?")
        sample = points[:: max(n // 200, 1)]
        counts = self.tree.query_ball_point(sample, _REACH * self.width, return_length=True)
        self._neighbors = int(min(np.quantile(counts, 0.98) + 8, _MOST_NEIGHBORS, n))

    def frames(
        self, x: Float[np.ndarray, "B d"]
    ) -> tuple[Float[np.ndarray, "B d"], Float[np.ndarray, "B d"], Float[np.ndarray, "B d d"]]:
        """Weighted means, eigenvalues (falling) and eigenvectors (columns) at positions x."""
        weights, near = self._weights(x)
        mean = (weights[:, None] @ near)[:, 0]
        away = near - mean[:, None]
        covariance = (weights[..., None] * away).swapaxes(1, 2) @ away
        values, vectors = np.linalg.eigh(covariance)
        return mean, values[:, ::-1], vectors[:, :, ::-1]

    def on_ridge(self, x: Float[np.ndarray, "B d"], *, steps: int = 10) -> np.ndarray:
        """x moved across the subbundle until level with the local mean: denoised points."""
        for _ in range(steps):
            mean, _, vectors = self.frames(x)
            normal = vectors[:, :, self.k :]
            x = x + np.einsum("bij,bkj,bk->bi", normal, normal, mean - x)
        return x

    def geodesics(
        self, starts: Float[np.ndarray, "B d"], covectors: Float[np.ndarray, "B d"], *,
        length: float, num_steps: int, level: bool = True,
    ) -> Float[np.ndarray, "B T d"]:  # fmt: skip
        """Normal sub-Riemannian geodesics, one per start and covector, at equal times.

        Hamilton's equations of H = 1/2 p^T P(x) p, P the projector on the principal subspace:
        dx = P p, dp = -1/2 grad (p^T P p), by the midpoint rule; it keeps the speed. A geodesic
        ends, and the rest of its points are NaN, where it has left the cloud.

        Args:
            starts: Where they begin.
            covectors: Unit vectors in the principal subspaces there.
            length: Of every geodesic, in the unit of the points.
            num_steps: Number T of points on each.
            level: Bring every point back to the ridge (see `on_ridge`) and the covector back to its
                subspace and length, so that errors do not add up along the way: exact where the
                subspaces are tangent to surfaces, which then hold the geodesics. False follows the
                equations alone.
        """
        parts = [
            self._walk(starts[n : n + _CHUNK], covectors[n : n + _CHUNK], length, num_steps, level)
            for n in range(0, len(starts), _CHUNK)
        ]
        return np.concatenate(parts)

    def _walk(self, x, p, length: float, num_steps: int, level: bool) -> np.ndarray:
        h = length / num_steps
        gone = np.zeros(len(x), bool)
        path = []
        for _ in range(num_steps):
            dx, dp = self._flow(x, p)
            dx, dp = self._flow(x + h / 2 * dx, p + h / 2 * dp)
            moved = x + h * dx
            p = p + h * dp
            if level:
                moved, p = self._leveled(moved, p)
            gone |= ~(np.linalg.norm(moved - x, axis=1) <= 2 * h)
            x = np.where(gone[:, None], x, moved)
            p = np.where(gone[:, None], 0.0, p)
            gone |= self.tree.query(x)[0] > self.width
            path.append(np.where(gone[:, None], np.nan, x))
        return np.stack(path, axis=1)

    def _leveled(self, x: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, _, vectors = self.frames(x)
        inside, normal = vectors[:, :, : self.k], vectors[:, :, self.k :]
        x = x + (normal @ (normal.swapaxes(1, 2) @ (mean - x)[..., None]))[..., 0]
        p = (inside @ (inside.swapaxes(1, 2) @ p[..., None]))[..., 0]
        return x, p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-12)

    def _weights(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distances, index = self.tree.query(x, self._neighbors)
        scaled = distances / self.width
        # Far from all points the nearest ones still count, as the weights are relative.
        scaled = scaled - np.maximum(scaled[:, :1] - 1, 0)
        weights = np.where(scaled < _REACH, np.exp(-0.5 * scaled**2), 0.0)
        return weights / weights.sum(axis=1, keepdims=True), self.points[index]

    def _flow(self, x: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(dH / dp, -dH / dx).

        With covariance eigenvectors u_a inside and u_b outside of the subspace,
        p^T dP p = 2 sum_ab (p.u_a)(p.u_b) u_a^T dC u_b / (l_a - l_b).
        """
        weights, near = self._weights(x)
        mean = (weights[:, None] @ near)[:, 0]
        away = near - mean[:, None]
        covariance = (weights[..., None] * away).swapaxes(1, 2) @ away
        values, vectors = np.linalg.eigh(covariance)
        inside, outside = vectors[:, :, -self.k :], vectors[:, :, : -self.k]
        gaps = values[:, None, -self.k :].swapaxes(1, 2) - values[:, None, : -self.k]
        p_in = np.einsum("bia,bi->ba", inside, p)
        p_out = np.einsum("bia,bi->ba", outside, p)
        scale = np.maximum(gaps, 1e-3 * values[:, -1:, None])
        coupling = 2 * p_in[:, :, None] * p_out[:, None, :] / scale
        a = away @ inside
        b = away @ outside
        q = ((a @ coupling) * b).sum(axis=2)
        # d weight_m / dx = weight_m (r_m - mean r), r_m = (x_m - x) / width^2.
        r = away / self.width**2
        gradient = ((weights * q)[:, None] @ r)[:, 0]
        return np.einsum("bia,ba->bi", inside, p_in), -0.5 * gradient


def reconstruct(
    points: Float[np.ndarray, "N d"],
    *,
    k: int = 2,
    width: float | None = None,
    chart_radius: float | None = None,
    rays: int = 24,
    rings: int = 6,
) -> Reconstruction:
    """The curve or surface under a noisy cloud as overlapping charts of geodesics.

    Bases are spread over the cloud so that every point is within half a chart's radius of one.

    Args:
        points: The cloud, d = 2 or 3 usually.
        k: 1 for curves, 2 for surfaces.
        width: Of the kernel; see `PrincipalSubbundle`.
        chart_radius: Length of the geodesics; None takes three kernel widths.
        rays: Geodesics per chart of a surface.
        rings: Points on each geodesic.

    Raises:
        ValueError: As `PrincipalSubbundle`; or `k` is neither 1 nor 2.
    """
    if k not in (1, 2):
        raise ValueError(f"`k` must be 1 (curves) or 2 (surfaces), got {k}.")
    bundle = PrincipalSubbundle(points, k=k, width=width)
    radius = 3 * bundle.width if chart_radius is None else chart_radius
    bases = bundle.on_ridge(bundle.points[_spread(bundle.points, radius / 2)])
    _, _, vectors = bundle.frames(bases)
    angles = 2 * np.pi * np.arange(rays) / rays
    fan = np.array([[1.0], [-1.0]]) if k == 1 else np.stack([np.cos(angles), np.sin(angles)], 1)
    starts = np.repeat(bases, len(fan), axis=0)
    covectors = np.einsum("bij,rj->bri", vectors[:, :, :k], fan).reshape(len(starts), -1)
    paths = bundle.geodesics(starts, covectors, length=radius, num_steps=rings)
    charts = paths.reshape(len(bases), len(fan) * rings, -1)
    vertices = np.concatenate([bases[:, None], charts], axis=1)
    pattern = _fan_faces(len(fan), rings, k)
    faces = pattern[None] + vertices.shape[1] * np.arange(len(bases))[:, None, None]
    return _without_gaps(vertices.reshape(-1, vertices.shape[2]), faces.reshape(-1, k + 1), bases)


def _without_gaps(vertices: np.ndarray, faces: np.ndarray, bases: np.ndarray) -> Reconstruction:
    """Only finite vertices, and the faces between them."""
    finite = np.asarray(np.isfinite(vertices).all(axis=1))
    place = np.cumsum(finite) - 1
    return Reconstruction(vertices[finite], place[faces[finite[faces].all(axis=1)]], bases)


def _spread(points: np.ndarray, spacing: float) -> np.ndarray:
    """Greedy cover: chosen points leave none farther than `spacing` from one of them."""
    tree, chosen = KDTree(points), []
    free = np.ones(len(points), bool)
    for n in range(len(points)):
        if free[n]:
            chosen.append(n)
            free[tree.query_ball_point(points[n], spacing)] = False
    return np.array(chosen)


def _fan_faces(rays: int, rings: int, k: int) -> np.ndarray:
    """Connections of one chart: vertex 0 is the base, then ray after ray from inside outwards."""
    at = 1 + np.arange(rays * rings).reshape(rays, rings)
    if k == 1:
        inner = np.stack([at[:, :-1], at[:, 1:]], axis=-1).reshape(-1, 2)
        return np.concatenate([np.stack([np.zeros(rays, int), at[:, 0]], axis=1), inner])
    following = np.roll(at, -1, axis=0)
    first = np.stack([np.zeros(rays, int), at[:, 0], following[:, 0]], axis=1)
    a, b, c, d = at[:, :-1], at[:, 1:], following[:, 1:], following[:, :-1]
    return np.concatenate(
        [first, np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    )
