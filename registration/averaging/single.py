"""Averages of single rotations and rigid motions as flags."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from .flags import chordal_distances, flag_mean, flag_median, polar

_ROTATION_TYPE = (1, 2, 3)
_MOTION_TYPE = (1, 2, 3)  # of the first three columns of a rotation of four dimensions


def average_rotation(
    rotations: Float[np.ndarray, "N 3 3"],
    *,
    weights: Float[np.ndarray, "N"] | None = None,
    robust: bool = True,
) -> Float[np.ndarray, "3 3"]:
    """The flag median (`robust`) or flag mean of rotations.

    A flag does not know the signs of a rotation's columns: they are those that most rotations near
    the average have, and the determinant is +1.

    Args:
        rotations: Proper rotation matrices.
        weights: Non-negative; None weighs all alike.
        robust: The median, which up to half of the rotations cannot carry away.
    """
    average = flag_median if robust else flag_mean
    flag = average(rotations, _ROTATION_TYPE, weights=weights)
    return _signed(flag, rotations, weights)


def average_motion(
    motions: Float[np.ndarray, "N 4 4"],
    *,
    length: float,
    weights: Float[np.ndarray, "N"] | None = None,
    method: Literal["median", "mean"] = "median",
) -> Float[np.ndarray, "4 4"]:
    """The flag median or mean of rigid motions, by way of rotations in four dimensions.

    The motion (R, t) becomes the polar factor of [[R, t / length], [0, 1]], whose first three
    columns are a flag. For a pure translation that is a turn by atan(|t| / (2 length)).

    Args:
        motions: Homogeneous matrices, scale 1.
        length: The translation that weighs like a turn of about half a radian, in world units;
            about the diameter of the scene.
        weights: Non-negative; None weighs all alike.
        method: The median resists outliers.
    """
    if not length > 0:
        raise ValueError(f"`length` must be positive (a scene's diameter), got {length}.")
    scaled = motions.copy()
    scaled[:, :3, 3] /= length
    turned = polar(scaled)
    average = flag_median if method == "median" else flag_mean
    flag = average(turned[:, :, :3], _MOTION_TYPE, weights=weights)
    flag = _column_signs(flag, turned[:, :, :3], weights)
    last = np.linalg.svd(flag, full_matrices=True)[0][:, 3]
    full = np.concatenate([flag, last[:, None]], axis=1)
    if np.linalg.det(full) < 0:
        full[:, 3] *= -1
    return _motion(full, length)


def _motion(turned: Float[np.ndarray, "4 4"], length: float) -> Float[np.ndarray, "4 4"]:
    """The motion whose polar factor is nearest to a given rotation of four dimensions.

    The polar factor Q of M = [[R, s], [0, 1]] satisfies M = Q H, H symmetric and positive. With
    b = s / |s|, the plane of (b, e_4) turns by tan(angle) = |s| / 2 and the rest is R.
    """
    cosine = np.clip(turned[3, 3], 1e-9, 1.0)
    shift = 2.0 * turned[:3, 3] / cosine
    size = float(np.linalg.norm(shift))
    upper = turned[:3, :3]
    if size > 1e-12:
        b = shift / size
        upper = upper + (1 / cosine - 1) * np.outer(b, b) @ upper
    u, _, vt = np.linalg.svd(upper)
    motion = np.eye(4)
    motion[:3, :3] = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    motion[:3, 3] = length * shift
    return motion


def _signed(
    flag: Float[np.ndarray, "3 3"], rotations: np.ndarray, weights: np.ndarray | None
) -> Float[np.ndarray, "3 3"]:
    signed = _column_signs(flag, rotations, weights)
    if np.linalg.det(signed) < 0:  # the column that the rotations agree on least gives way
        agreement = np.abs(np.einsum("ab,jab->b", signed, rotations))
        signed[:, int(agreement.argmin())] *= -1
    return signed


def _column_signs(flag: np.ndarray, rotations: np.ndarray, weights: np.ndarray | None):
    distances = chordal_distances(flag, rotations, tuple(range(1, flag.shape[1] + 1)))
    near = 1.0 / np.maximum(distances, 1e-2)
    near = near if weights is None else near * weights
    votes = np.einsum("j,jab,ab->b", near, rotations, flag)
    return flag * np.where(votes < 0, -1.0, 1.0)
