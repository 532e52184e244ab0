"""Every pair of points and triangles, by definition: the twin of the native hierarchy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def squared_distances(
    points: Float[np.ndarray, "n 3"], corners: Float[np.ndarray, "f 3 3"]
) -> Float[np.ndarray, "n f"]:
    """Squared distance of each point to each triangle.

    The projection onto the plane counts where it lies inside, the nearest edge elsewhere.
    """
    p = points.astype(np.float64)[:, None]
    a, b, c = corners.astype(np.float64).transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    squared = (normal**2).sum(-1)
    safe = np.where(squared > 0, squared, 1.0)
    height = ((p - a) * normal).sum(-1)
    inside = squared > 0
    nearest = np.full(np.broadcast_shapes(p.shape[:2], (1, len(a))), np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        edge = end - start
        along = ((p - start) * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-300)
        rest = p - start - np.clip(along, 0, 1)[..., None] * edge
        nearest = np.minimum(nearest, (rest**2).sum(-1))
        inside = inside & ((np.cross(normal, edge) * (p - start)).sum(-1) >= 0)
    return np.where(inside, height**2 / safe, nearest)


def crossed(
    points: Float[np.ndarray, "n 3"],
    direction: Float[np.ndarray, "3"],
    corners: Float[np.ndarray, "f 3 3"],
) -> Bool[np.ndarray, "n f"]:
    """Whether the ray from each point crosses each triangle (signed volumes of tetrahedra)."""
    a, b, c = (
        corners.astype(np.float64)[:, i] - points.astype(np.float64)[:, None] for i in range(3)
    )
    u = (np.cross(c, b) * direction).sum(-1)
    v = (np.cross(a, c) * direction).sum(-1)
    w = (np.cross(b, a) * direction).sum(-1)
    same = ((u >= 0) & (v >= 0) & (w >= 0)) | ((u <= 0) & (v <= 0) & (w <= 0))
    total = u + v + w
    ahead = np.where(
        total != 0,
        (u[..., None] * a + v[..., None] * b + w[..., None] * c)
        @ direction
        / np.where(total != 0, total, 1.0),
        -1.0,
    )
    return same & (ahead > 0)


def solid_angles(
    points: Float[np.ndarray, "n 3"], corners: Float[np.ndarray, "f 3 3"]
) -> Float[np.ndarray, "n f"]:
    """Signed solid angle of each triangle, steradians (Van Oosterom and Strackee, 1983)."""
    a, b, c = (
        corners.astype(np.float64)[:, i] - points.astype(np.float64)[:, None] for i in range(3)
    )
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    numerator = (a * np.cross(b, c)).sum(-1)
    denominator = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return 2 * np.arctan2(numerator, denominator)
