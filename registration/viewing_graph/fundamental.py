"""Fundamental matrices: epipoles, estimation from matches and how certain they are.

x_i^T F_ij x_j = 0 for images of one point, F_ji = F_ij^T. The epipole e_ij, the image in view i of
the center of view j, satisfies F_ij^T e_ij = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_GAUSS_NEWTON_STEPS = 8
_LEAST_SIGMA = 0.3  # pixels; features are never located better than that


@dataclass(frozen=True)
class EstimatedFundamental:
    """A fundamental matrix and its uncertainty."""

    F: Float[np.ndarray, "3 3"]
    """Rank 2, Frobenius norm 1."""
    deviations: Float[np.ndarray, "7 3 3"]
    """Independent changes of F of one standard deviation each: its covariance is their sum of
    squares."""
    sigma: float
    """Robust standard deviation of the Sampson errors, in the unit of the points."""


def epipoles(F: Float[np.ndarray, "*batch 3 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Unit epipoles (e_ij, e_ji): the left and the right null vector of F_ij."""
    u, _, vt = np.linalg.svd(F)
    return u[..., :, 2], vt[..., 2, :]


def fundamental_of_cameras(
    P_i: Float[np.ndarray, "3 4"], P_j: Float[np.ndarray, "3 4"]
) -> Float[np.ndarray, "3 3"]:
    """F_ij of two projective cameras, Frobenius norm 1; zero where the centers coincide."""
    center = np.linalg.svd(P_j)[2][3]
    e = P_i @ center
    cross = np.array([[0, -e[2], e[1]], [e[2], 0, -e[0]], [-e[1], e[0], 0]])
    F = cross @ P_i @ np.linalg.pinv(P_j)
    return F / max(float(np.linalg.norm(F)), 1e-300)


def estimate_fundamental(
    x_i: Float[np.ndarray, "N 2"], x_j: Float[np.ndarray, "N 2"], *, unit: float = 1.0
) -> EstimatedFundamental:
    """The fundamental matrix of inlier matches and its covariance.

    The normalized eight-point method, then Gauss-Newton on Sampson errors over the seven freedoms
    of F with Huber's weights; the covariance is that of the last normal equations.

    Args:
        x_i: Points in view i.
        x_j: The same points in view j.
        unit: Length of one pixel in the unit of the points, for the least deviation assumed.

    Raises:
        ValueError: Fewer than 8 matches, or numbers that are not finite.
    """
    if len(x_i) != len(x_j) or len(x_i) < 8:
        raise ValueError(f"`x_i` and `x_j` must be 8 matches or more, got {len(x_i)}, {len(x_j)}.")
    if not (np.isfinite(x_i).all() and np.isfinite(x_j).all()):
        raise ValueError("`x_i` and `x_j` must be finite.")
    a, b = _homogeneous(x_i), _homogeneous(x_j)
    F, sigma = _eight_points(a, b), 0.0
    for _ in range(_GAUSS_NEWTON_STEPS):
        errors = sampson_errors(F, a, b)
        sigma = max(1.4826 * float(np.median(np.abs(errors))), _LEAST_SIGMA * unit)
        weights = np.minimum(1.0, 1.345 * sigma / np.maximum(np.abs(errors), 1e-300))
        basis = _tangent(F)
        jacobian = _jacobian(F, basis, a, b)
        normal = jacobian.T @ (weights[:, None] * jacobian)
        step = -np.linalg.lstsq(normal, jacobian.T @ (weights * errors), rcond=1e-12)[0]
        F = _retract(F, step)
    basis = _tangent(F)
    jacobian = _jacobian(F, basis, a, b)
    values, vectors = np.linalg.eigh(jacobian.T @ jacobian)
    roots = sigma / np.sqrt(np.maximum(values, 1e-12 * values[-1]))
    deviations = np.einsum("a,ka,kcd->acd", roots, vectors, basis)
    return EstimatedFundamental(F, deviations, sigma)


def sampson_errors(
    F: Float[np.ndarray, "3 3"], a: Float[np.ndarray, "N 3"], b: Float[np.ndarray, "N 3"]
) -> Float[np.ndarray, "N"]:
    """Signed distances of matches from satisfying a^T F b = 0, to first order."""
    lines_i, lines_j = b @ F.T, a @ F
    size = np.sqrt((lines_i[:, :2] ** 2).sum(axis=1) + (lines_j[:, :2] ** 2).sum(axis=1))
    return (a * lines_i).sum(axis=1) / np.maximum(size, 1e-300)


def _homogeneous(x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(x, np.float64), np.ones((len(x), 1))], axis=1)


def _eight_points(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "3 3"]:
    T_a, T_b = _conditioner(a), _conditioner(b)
    rows = np.einsum("na,nb->nab", a @ T_a.T, b @ T_b.T).reshape(-1, 9)
    F = np.linalg.svd(rows, full_matrices=True)[2][8].reshape(3, 3)
    u, s, vt = np.linalg.svd(F)
    F = T_a.T @ (u * [s[0], s[1], 0.0]) @ vt @ T_b
    return F / np.linalg.norm(F)


def _conditioner(a: np.ndarray) -> Float[np.ndarray, "3 3"]:
    center = a[:, :2].mean(axis=0)
    size = max(float(np.linalg.norm(a[:, :2] - center, axis=1).mean()) / np.sqrt(2), 1e-12)
    return np.array([[1 / size, 0, -center[0] / size], [0, 1 / size, -center[1] / size], [0, 0, 1]])


def _tangent(F: np.ndarray) -> Float[np.ndarray, "7 3 3"]:
    """Directions in which F = U diag(s) V^T moves among matrices of rank 2 and norm 1."""
    u, s, vt = np.linalg.svd(F)
    s = np.array([s[0], s[1], 0.0]) / np.hypot(s[0], s[1])
    generators = np.zeros((3, 3, 3))
    for k, (p, q) in enumerate(((1, 2), (2, 0), (0, 1))):
        generators[k, q, p], generators[k, p, q] = 1.0, -1.0
    left = [u @ g @ np.diag(s) @ vt for g in generators]
    right = [u @ np.diag(s) @ g.T @ vt for g in generators]
    stretch = u @ np.diag([-s[1], s[0], 0.0]) @ vt
    return np.stack([*left, *right, stretch])


def _retract(F: np.ndarray, step: np.ndarray) -> np.ndarray:
    u, s, vt = np.linalg.svd(F + np.einsum("k,kcd->cd", step, _tangent(F)))
    F = (u * [s[0], s[1], 0.0]) @ vt
    return F / np.linalg.norm(F)


def _jacobian(F: np.ndarray, basis: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Derivatives [N, 7] of the Sampson errors; their denominators count as constant."""
    lines_i, lines_j = b @ F.T, a @ F
    size = np.sqrt((lines_i[:, :2] ** 2).sum(axis=1) + (lines_j[:, :2] ** 2).sum(axis=1))
    return np.einsum("na,kab,nb->nk", a, basis, b) / np.maximum(size, 1e-300)[:, None]
