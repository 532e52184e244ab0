"""Placing by hand: picked points, gravity and known lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from captures import Similarity

from .clouds import Cloud
from .preparation import prepare
from .units import measure

Coordinates = Sequence[Any] | NDArray[Any]
"""Numbers or rows of numbers."""

_PLANE_TRIALS = 400
_PLANE_REACH = 0.5
_PLANE_REFITS = 12
_MAD_TO_DEVIATION = 1.4826
_UPRIGHT_COSINE = 0.9


def align_points(
    source: Coordinates, target: Coordinates, *, with_scale: bool = False
) -> tuple[Similarity, float]:
    """The similarity of least squares that carries picked points onto their partners.

    Args:
        source, target: [n, 3] points in corresponding order, n >= 3, not on one line.
        with_scale: Estimate the scale too.

    Returns:
        The similarity and the root mean square distance that remains, target units.

    Raises:
        ValueError: Unequal or too few points, values that are not finite, points on one line.

    Reference: Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", TPAMI 1991, equations 40 to 42.
    """
    p, q = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if p.ndim != 2 or p.shape != q.shape or p.shape[1:] != (3,) or len(p) < 3:
        raise ValueError(
            "`source` and `target` must be [n, 3] with the same n >= 3, got "
            f"{list(p.shape)} and {list(q.shape)}."
        )
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        raise ValueError("`source` and `target` must be finite.")
    a, b = p.mean(0), q.mean(0)
    for name, centered in (("source", p - a), ("target", q - b)):
        values = np.linalg.svd(centered, compute_uv=False)
        if values[1] < 1e-6 * values[0] or values[0] == 0:
            raise ValueError(f"`{name}`: the picked points lie on one line; pick one beside it.")
    u, s, vt = np.linalg.svd((q - b).T @ (p - a))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((s * signs).sum() / ((p - a) ** 2).sum()) if with_scale else 1.0
    shift = b - scale * rotation @ a
    gaps = scale * p @ rotation.T + shift - q
    found = Similarity(scale, torch.from_numpy(rotation), torch.from_numpy(shift))
    return found, float(np.sqrt((gaps**2).sum(1).mean()))


def align_gravity(
    up: Coordinates,
    *,
    target_up: Coordinates = (0.0, -1.0, 0.0),
    origin: Coordinates = (0.0, 0.0, 0.0),
) -> Similarity:
    """The smallest turn about `origin` that carries the direction `up` to `target_up`.

    Raises:
        ValueError: A direction of length 0.
    """
    a, b = (np.asarray(v, np.float64) for v in (up, target_up))
    if not (np.linalg.norm(a) > 0 and np.linalg.norm(b) > 0):
        raise ValueError(f"`up` and `target_up` must be directions, got {up} and {target_up}.")
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    if np.linalg.norm(axis) < 1e-12:
        # Parallel, or opposite: half a turn about any axis across.
        across = np.cross(a, np.eye(3)[int(np.argmin(np.abs(a)))])
        across /= np.linalg.norm(across)
        rotation = np.eye(3) if a @ b > 0 else 2 * np.outer(across, across) - np.eye(3)
    else:
        k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        rotation = np.eye(3) + k + k @ k / (1 + a @ b)
    center = np.asarray(origin, np.float64)
    shift = center - rotation @ center
    return Similarity(1.0, torch.from_numpy(rotation), torch.from_numpy(shift))


def find_floor(cloud: Cloud, *, up: Coordinates | None = None) -> NDArray[np.float64]:
    """The upward unit normal of the largest plane, such as a floor or a street.

    Args:
        cloud: At least 3 points.
        up: A rough direction, within 25 degrees of which the normal must lie; None takes the
            largest plane whatever its direction, with most of the cloud above it.

    Raises:
        ValueError: No plane was found near `up`.
    """
    units = measure(cloud.points)
    prepared = prepare(units, units.voxel())
    points, normals = prepared.points.astype(np.float64), prepared.normals.astype(np.float64)
    rough = None if up is None else np.asarray(up, np.float64) / np.linalg.norm(np.asarray(up))
    rng = np.random.default_rng(0)
    normal, middle = np.zeros(3), np.zeros(3)
    best, members = 0, np.zeros(len(points), bool)
    for i in rng.permutation(len(points))[:_PLANE_TRIALS]:
        n = normals[i]
        if not n.any() or (rough is not None and abs(n @ rough) < _UPRIGHT_COSINE):
            continue
        near = np.abs((points - points[i]) @ n) < _PLANE_REACH * prepared.voxel
        near &= np.abs(normals @ n) > _UPRIGHT_COSINE
        if near.sum() > best:
            best, members = int(near.sum()), near
    if best < 3:
        raise ValueError("no plane was found; give the direction of gravity with `up`.")
    reach = _PLANE_REACH / 10 * prepared.voxel
    members = _one_face(points, members, reach, rng)
    for _ in range(_PLANE_REFITS):
        plane = points[members]
        middle = plane.mean(0)
        normal = np.linalg.svd(plane - middle, full_matrices=False)[2][2]
        away = np.abs((points - middle) @ normal)
        members = (away < reach) & (np.abs(normals @ normal) > _UPRIGHT_COSINE)
        if members.sum() < 3:
            raise ValueError("no plane was found; give the direction of gravity with `up`.")
        reach = min(reach, 3 * _MAD_TO_DEVIATION * float(np.median(away[members])) + 1e-12)
    side = normal @ rough if rough is not None else np.median((points - middle) @ normal)
    return normal if side >= 0 else -normal


def _one_face(
    points: NDArray[np.float64],
    members: NDArray[np.bool_],
    reach: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Those of a slab that lie on one plane: the slab may hold both faces of a thin floor."""
    slab = points[members]
    best, closest = 2, members
    for a, b, c in slab[rng.integers(0, len(slab), (_PLANE_TRIALS, 3))]:
        normal = np.cross(b - a, c - a)
        length = float(np.linalg.norm(normal))
        if length > 0:
            near = members & (np.abs((points - a) @ (normal / length)) < reach)
            if (count := int(near.sum())) > best:
                best, closest = count, near
    return closest


def metric_scale(first: Coordinates, second: Coordinates, length: float) -> Similarity:
    """The scale about the origin that makes the distance of two picked points `length` meters.

    Raises:
        ValueError: The points coincide, or `length` is not above 0.
    """
    distance = float(np.linalg.norm(np.asarray(first, np.float64) - np.asarray(second, np.float64)))
    if not (distance > 0 and np.isfinite(distance)):
        raise ValueError(f"`first` and `second` must be two different points, got {first} twice.")
    if not (length > 0 and np.isfinite(length)):
        raise ValueError(f"`length` must be above 0, got {length}.")
    return Similarity(length / distance)
