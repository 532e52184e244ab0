"""Universal manifold embedding: one match of two neighborhoods gives a whole pose.

A neighborhood with invariant channels f_k(x) has the matrix F = [m0 | m1] of the moments
m0_k = sum f_k(x) and m1_k = sum f_k(x) x. Any affine map of the points multiplies F from the right
by an invertible 4x4 matrix, so that the span of its columns names the neighborhood whatever its
pose and scale.
Reference: Haitman, Efraim and Francos, "UMERegRobust", ECCV 2024, sections 3.1 to 3.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .kernels import kernels
from .preparation import Prepared

ColorFunction = Callable[[Prepared], NDArray[np.float32]]
"""From a cloud of n points to n non-negative colors [n, channels] that no rigid motion changes."""

RADIUS = 18.0
"""Voxels of a neighborhood: 5 m where streets are thinned to 0.3 m, as published."""
KEYPOINTS = 1000
CHANNELS = 24
_MOST_NEIGHBORS = 1200
_LEAST_NEIGHBORS = 60
_MATCHES = 400
_RANK = 1e-3  # fourth singular value over the first below which a neighborhood is degenerate
_SOFTNESS = 0.12
_MOST_STRETCH = 3.0


@dataclass(frozen=True)
class Embeddings:
    """The moments of a cloud's neighborhoods."""

    centers: NDArray[np.float64]
    """[k, 3] keypoints."""
    moments: NDArray[np.float64]
    """[k, channels, 4] matrices F about the keypoints."""
    spans: NDArray[np.float32]
    """[k, channels (channels + 1) / 2]: the projector on the span, so that the distance of two rows
    is the subspace distance sqrt(2 sum sin^2)."""


def embed(cloud: Prepared, colors: NDArray[np.float32], *, radius: float = RADIUS) -> Embeddings:
    """Moments of evenly chosen neighborhoods that determine a pose."""
    from scipy.sparse import csr_array

    step = max(1, len(cloud.points) // KEYPOINTS)
    chosen = np.ascontiguousarray(cloud.points[::step])
    offsets, indices, _ = cloud.tree.within(chosen, radius * cloud.voxel, _MOST_NEIGHBORS)
    members = csr_array(
        (np.ones(len(indices), np.float32), indices, offsets), (len(chosen), len(cloud.points))
    )
    unit = cloud.points / np.float32(radius * cloud.voxel)
    homogeneous = np.concatenate([np.ones((len(unit), 1), np.float32), unit], axis=1)
    products = (colors[:, :, None] * homogeneous[:, None, :]).reshape(len(unit), -1)
    moments = (members @ products).reshape(len(chosen), -1, 4).astype(np.float64)
    counts = np.diff(offsets)
    centers = chosen.astype(np.float64) / (radius * cloud.voxel)
    moments[:, :, 1:] -= moments[:, :, :1] * centers[:, None, :]
    moments /= np.maximum(counts, 1)[:, None, None]
    u, s, _ = np.linalg.svd(moments, full_matrices=False)
    kept = (counts >= _LEAST_NEIGHBORS) & (s[:, 3] > _RANK * s[:, 0])
    return Embeddings(chosen[kept].astype(np.float64), moments[kept], _vectors(u[kept]))


def _vectors(bases: NDArray[np.float64]) -> NDArray[np.float32]:
    """Upper triangles of the projectors, off-diagonal entries times sqrt 2."""
    projectors = bases @ bases.transpose(0, 2, 1)
    rows, columns = np.triu_indices(bases.shape[1])
    weights = np.where(rows == columns, 1.0, np.sqrt(2.0))
    return (projectors[:, rows, columns] * weights).astype(np.float32)


def poses_of_embeddings(
    source: Embeddings, target: Embeddings, *, radii: tuple[float, float], with_scale: bool = False
) -> NDArray[np.float64]:
    """Candidate poses [k, 13], one for each of the best matches.

    Args:
        source, target: Embeddings with the same colors.
        radii: Of the neighborhoods of source and target, in their units.
        with_scale: Take the scale of each match too.
    """
    if len(source.centers) == 0 or len(target.centers) == 0:
        return np.zeros((0, 13))
    nearest, squared = kernels().match(target.spans, source.spans)
    order = np.argsort(squared[:, 0], kind="stable")[:_MATCHES]
    rows = nearest[order]
    rotations, shifts, scales, valid = solve(target.moments[rows], source.moments[order])
    scales = scales * radii[1] / radii[0] if with_scale else np.ones(len(order))
    turned = np.einsum("kij,kj->ki", rotations, source.centers[order])
    translations = target.centers[rows] + shifts * radii[1] - scales[:, None] * turned
    poses = np.concatenate([rotations.reshape(-1, 9), translations, scales[:, None]], axis=1)
    return poses[valid]


def solve(
    target: NDArray[np.float64], source: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Rotations, translations and scales that carry source moments into target moments, and which
    are proper: mirror images have the same span and are told by the determinant of the best
    linear map.

    Reference: UMERegRobust, section 3.3; the scale is the trace of the singular values over the
    squared norm of the centered source moments.
    """
    m_g, g, m_h, h = target[..., 0], target[..., 1:], source[..., 0], source[..., 1:]
    w = m_g / np.maximum((m_g * m_h).sum(-1, keepdims=True), 1e-12)
    a = (g * m_g[..., None]).sum(-2) / np.maximum((m_g**2).sum(-1, keepdims=True), 1e-12)
    b = (h * w[..., None]).sum(-2)
    left = g - m_g[..., None] * a[..., None, :]
    right = h - m_h[..., None] * b[..., None, :]
    u, s, vt = np.linalg.svd(left.swapaxes(-1, -2) @ right)
    sign = np.sign(np.linalg.det(u @ vt))
    signs = np.stack([np.ones_like(sign), np.ones_like(sign), sign], axis=-1)
    rotations = (u * signs[..., None, :]) @ vt
    norms = np.maximum((right**2).sum((-1, -2)), 1e-300)
    scales = (s * signs).sum(-1) / norms
    shifts = a - scales[..., None] * np.einsum("kij,kj->ki", rotations, b)
    valid = (sign > 0) & (scales > 1 / _MOST_STRETCH) & (scales < _MOST_STRETCH)
    return rotations, shifts, scales, valid


def joint_colors(
    source: Prepared, target: Prepared, *, channels: int = CHANNELS
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Untrained colors: soft membership in clusters of the two clouds' feature histograms."""
    table = np.concatenate([source.histograms, target.histograms])
    centers = _clusters(table[:: max(1, len(table) // 3000)], channels)
    return soft_assignment(source.histograms, centers), soft_assignment(target.histograms, centers)


def soft_assignment(
    features: NDArray[np.float32], centers: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Shares [n, channels] that fall off with the squared distance to each center."""
    squared = (
        (features**2).sum(1)[:, None] - 2 * features @ centers.T + (centers**2).sum(1)[None, :]
    )
    squared -= squared.min(axis=1, keepdims=True)
    shares = np.exp(-squared / _SOFTNESS)
    return shares / shares.sum(axis=1, keepdims=True)


def _clusters(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Centers of k-means from rows that are far from each other, so that every run agrees."""
    centers = [rows[0]]
    nearest = ((rows - rows[0]) ** 2).sum(1)
    for _ in range(count - 1):
        centers.append(rows[int(np.argmax(nearest))])
        nearest = np.minimum(nearest, ((rows - centers[-1]) ** 2).sum(1))
    found = np.stack(centers)
    for _ in range(8):
        labels, _ = kernels().match(found, rows)
        sums = np.zeros_like(found)
        np.add.at(sums, labels, rows)
        sizes = np.bincount(labels, minlength=count)[:, None]
        found = np.where(sizes > 0, sums / np.maximum(sizes, 1), found).astype(np.float32)
    return found
