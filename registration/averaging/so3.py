"""Rotations and rotation vectors, float64, batched."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def exp(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Rotation matrices of rotation vectors (axis times angle in radians)."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    k = hat(vectors)
    half = np.sinc(angle / (2 * np.pi))  # sin(a / 2) / (a / 2), also at 0
    return np.eye(3) + np.sinc(angle / np.pi) * k + 0.5 * half**2 * (k @ k)


def log(rotations: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Rotation vectors of length at most pi; accurate near 0 and near pi."""
    from scipy.spatial.transform import Rotation

    flat = rotations.reshape(-1, 3, 3)
    if len(flat) == 0:
        return np.zeros((*rotations.shape[:-2], 3))
    return Rotation.from_matrix(flat).as_rotvec().reshape(*rotations.shape[:-2], 3)


def angles(a: Float[np.ndarray, "*#batch 3 3"], b: Float[np.ndarray, "*#batch 3 3"]) -> np.ndarray:
    """Angles between rotations in radians, well-conditioned near 0 (unlike the arc cosine)."""
    chord = np.linalg.norm(a - b, axis=(-2, -1))
    return 2 * np.arcsin(np.minimum(chord / (2 * np.sqrt(2)), 1.0))


def hat(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Skew matrices K with K @ x = v cross x."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return np.stack(rows, axis=-1).reshape(*vectors.shape[:-1], 3, 3)


def project(matrices: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """The nearest proper rotations."""
    u, _, vt = np.linalg.svd(matrices)
    u[..., 2] *= np.linalg.det(u @ vt)[..., None]
    return u @ vt


def random(count: int, rng: np.random.Generator) -> Float[np.ndarray, "N 3 3"]:
    """Rotations of the uniform (Haar) distribution."""
    q = rng.normal(size=(count, 4))
    from scipy.spatial.transform import Rotation

    return Rotation.from_quat(q / np.linalg.norm(q, axis=1, keepdims=True)).as_matrix()


def align(
    estimates: Float[np.ndarray, "N 3 3"], truth: Float[np.ndarray, "N 3 3"]
) -> Float[np.ndarray, "N 3 3"]:
    """`estimates` turned by the one world rotation that brings them nearest to `truth` (L1)."""
    turns = truth @ estimates.transpose(0, 2, 1)
    turn = project(turns.sum(axis=0))
    for _ in range(20):
        chord = np.linalg.norm(turns - turn, axis=(1, 2))
        turn = project((turns / np.maximum(chord, 1e-6)[:, None, None]).sum(axis=0))
    return turn @ estimates
