"""Joint least squares over rotations, positions and scales with a redescending kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, diags_array
from scipy.sparse.linalg import splu

from . import so3

_ITERATIONS = 60
_MEDIAN_CHI = {3: 1.5382, 1: 0.6745}  # median lengths of normal vectors of that many dimensions


@dataclass(frozen=True)
class Relative:
    """Relative similarities of edges (i, j): x_i = exp(log_scale) rotation x_j + translation."""

    rotations: Float[np.ndarray, "E 3 3"]
    """Proper rotations."""
    translations: Float[np.ndarray, "E 3"]
    """In units of frame i."""
    log_scales: Float[np.ndarray, "E"]
    """0 for rigid edges."""


@dataclass(frozen=True)
class Poses:
    """World poses of nodes: x_world = exp(log_scale) rotation x_node + position."""

    rotations: Float[np.ndarray, "N 3 3"]
    """Proper rotations."""
    positions: Float[np.ndarray, "N 3"]
    """World units."""
    log_scales: Float[np.ndarray, "N"]
    """0 for rigid poses."""

    def matrices(self) -> Float[np.ndarray, "N 4 4"]:
        """Homogeneous matrices with the scale inside."""
        found = np.tile(np.eye(4), (len(self.rotations), 1, 1))
        found[:, :3, :3] = np.exp(self.log_scales)[:, None, None] * self.rotations
        found[:, :3, 3] = self.positions
        return found


@dataclass(frozen=True)
class Refined:
    """Outcome of `refine_poses`."""

    poses: Poses
    """The refined poses."""
    confidence: Float[np.ndarray, "E"]
    """Weight of each edge's kernel in [0, 1]."""
    residuals: Float[np.ndarray, "E 7"]
    """Rotation (radians), translation (units of frame i), logarithm of scale."""


def refine_poses(
    num_nodes: int,
    edges: Int[np.ndarray, "E 2"],
    measured: Relative,
    start: Poses,
    *,
    weights: Float[np.ndarray, "E"],
    prior: Float[np.ndarray, "E"],
    anchors: Int[np.ndarray, "A"],
    with_scale: bool,
    least_noise: tuple[float, float] = (0.0, 0.0),
) -> Refined:
    """Levenberg-Marquardt on all poses with Geman-McClure's kernel, graduated.

    Residuals are divided by their own standard deviations, re-estimated from the edges in favor.
    The kernel's width falls from wide (all edges count) to three deviations per degree of freedom.

    Args:
        num_nodes: Number of nodes.
        edges: Nodes (i, j) of each edge.
        measured: Relative poses.
        start: First guess.
        weights: Inverse variances up to a factor.
        prior: What the rotations alone say of each edge; only the first kernel weights.
        anchors: One node per component, which stays.
        with_scale: Whether scales are unknowns.
        least_noise: Least deviations of rotations (radians) and translations.
    """
    poses, confidence = start, prior
    if len(edges) == 0:
        return Refined(poses, np.zeros(0), np.zeros((0, 7)))
    columns = 7 if with_scale else 6
    unknowns = columns * (num_nodes - len(anchors))
    damping = 1e-6
    residuals = _residuals(edges, measured, poses)
    width = 30.0
    for _ in range(_ITERATIONS):
        sigma = _deviations(residuals, confidence * weights, edges, unknowns, columns, least_noise)
        scaled = residuals[:, :columns] / sigma[:columns] * np.sqrt(weights)[:, None]
        squares = (scaled**2).sum(axis=1) / columns
        confidence = (width**2 / (width**2 + squares)) ** 2
        confidence = np.where(prior > 1e-3, confidence, np.minimum(confidence, 1e-6))
        step = _step(num_nodes, edges, poses, residuals, sigma, confidence * weights, anchors,
                     columns, damping)  # fmt: skip
        moved = _moved(poses, step, with_scale=with_scale)
        after = _residuals(edges, measured, moved)
        if _cost(after, sigma, weights, width, columns) <= _cost(
            residuals, sigma, weights, width, columns
        ) * (1 + 1e-12):
            poses, residuals, damping = moved, after, max(damping / 10, 1e-9)
        else:
            damping = min(damping * 100, 1e6)
        if width <= 3.0 and np.abs(step).max() < 1e-9:
            break
        width = max(width / 1.6, 3.0)
    return Refined(poses, confidence, residuals)


def _residuals(edges: np.ndarray, measured: Relative, poses: Poses) -> Float[np.ndarray, "E 7"]:
    i, j = edges.T
    inverse = poses.rotations[i].transpose(0, 2, 1)
    turn = so3.log(measured.rotations.transpose(0, 2, 1) @ inverse @ poses.rotations[j])
    away = np.einsum("eab,eb->ea", inverse, poses.positions[j] - poses.positions[i])
    shift = away * np.exp(-poses.log_scales[i])[:, None] - measured.translations
    scale = poses.log_scales[j] - poses.log_scales[i] - measured.log_scales
    return np.concatenate([turn, shift, scale[:, None]], axis=1)


def _deviations(
    residuals, confidence, edges, unknowns: int, columns: int, least: tuple[float, float]
) -> np.ndarray:
    """Standard deviation of one coordinate of each kind, from edges in favor."""
    good = max(float(confidence.sum()), 1e-9)
    share = max(1 - unknowns / columns / len(edges), 0.05)
    tiny = 1e-6 * max(float(np.median(np.abs(residuals[:, 3:6]))), 1e-6)
    floors = (max(least[0], 1e-6), max(least[1], tiny), 1e-6)
    found = np.empty(7)
    for part, floor in zip((slice(0, 3), slice(3, 6), slice(6, 7)), floors, strict=True):
        dims = part.stop - part.start
        lengths = np.linalg.norm(residuals[:, part], axis=1)
        order = np.argsort(lengths)
        median = lengths[order][np.searchsorted(np.cumsum(confidence[order]), good / 2)]
        found[part] = max(float(median) / _MEDIAN_CHI[dims] / np.sqrt(share), floor)
    return found


def _cost(residuals, sigma, weights, width: float, columns: int) -> float:
    squares = ((residuals[:, :columns] / sigma[:columns]) ** 2).sum(axis=1) * weights / columns
    return float((width**2 * squares / (width**2 + squares)).sum())


def _step(
    num_nodes, edges, poses: Poses, residuals, sigma, weights, anchors, columns: int, damping: float
) -> Float[np.ndarray, "N D"]:
    """The damped Gauss-Newton step; turns in body axes, positions in world axes."""
    at_i, at_j = _jacobians(edges, poses, residuals)
    root = np.sqrt(weights)[:, None, None] / sigma[None, :columns, None]
    at_i, at_j = at_i[:, :columns, :columns] * root, at_j[:, :columns, :columns] * root
    right = (residuals[:, :columns, None] * root)[..., 0]
    count = len(edges)
    row = np.arange(count * columns).reshape(count, columns, 1)
    column = np.arange(columns)[None, None]
    rows = np.broadcast_to(row, at_i.shape).ravel()
    place = [
        np.broadcast_to(columns * edges[:, side, None, None] + column, at_i.shape).ravel()
        for side in (0, 1)
    ]
    jacobian = coo_matrix(
        (
            np.concatenate([at_i.ravel(), at_j.ravel()]),
            (np.concatenate([rows, rows]), np.concatenate(place)),
        ),
        (count * columns, columns * num_nodes),
    ).tocsc()
    held = np.zeros(num_nodes, bool)
    held[anchors] = True
    free = np.flatnonzero(~np.repeat(held, columns))
    step = np.zeros(num_nodes * columns)
    if len(free):
        jacobian = jacobian[:, free]
        normal = jacobian.T @ jacobian
        diagonal = normal.diagonal()
        normal = normal + diags_array(damping * diagonal + 1e-12 * diagonal.max())
        step[free] = splu(normal.tocsc()).solve(-(jacobian.T @ right.ravel()))
    return step.reshape(num_nodes, columns)


def _jacobians(edges, poses: Poses, residuals) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of `_residuals` [E, 7, 7] by (turn, position, log scale) of nodes i and j."""
    i, j = edges.T
    count = len(edges)
    inverse = poses.rotations[i].transpose(0, 2, 1)
    shrink = np.exp(-poses.log_scales[i])
    away = np.einsum("eab,eb->ea", inverse, poses.positions[j] - poses.positions[i])
    away *= shrink[:, None]
    right = _inverse_right_jacobian(residuals[:, :3])
    at_i, at_j = np.zeros((count, 7, 7)), np.zeros((count, 7, 7))
    at_j[:, :3, :3] = right
    at_i[:, :3, :3] = -right @ poses.rotations[j].transpose(0, 2, 1) @ poses.rotations[i]
    at_i[:, 3:6, :3] = so3.hat(away)
    at_j[:, 3:6, 3:6] = shrink[:, None, None] * inverse
    at_i[:, 3:6, 3:6] = -at_j[:, 3:6, 3:6]
    at_i[:, 3:6, 6] = -away
    at_i[:, 6, 6], at_j[:, 6, 6] = -1.0, 1.0
    return at_i, at_j


def _inverse_right_jacobian(vectors: Float[np.ndarray, "E 3"]) -> Float[np.ndarray, "E 3 3"]:
    """d log(exp(v) exp(x)) / dx at x = 0."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    k = so3.hat(vectors)
    safe = np.where(angle < 1e-4, 1.0, angle)
    half = safe / 2
    exact = (1 - half / np.tan(np.minimum(half, 1.57079))) / safe**2
    return np.eye(3) + 0.5 * k + np.where(angle < 1e-4, 1 / 12, exact) * (k @ k)


def _moved(poses: Poses, step: Float[np.ndarray, "N D"], *, with_scale: bool) -> Poses:
    return Poses(
        so3.project(poses.rotations @ so3.exp(step[:, :3])),
        poses.positions + step[:, 3:6],
        poses.log_scales + (step[:, 6] if with_scale else 0.0),
    )
