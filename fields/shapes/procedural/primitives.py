"""Solids as functions of points: negative inside, exact in sign, near enough in distance.

A `Sdf` maps points [n, 3] to values [n]. The zero set is exact; values off it bound the distance
or follow it to first order, which is all that tessellation asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float

Numbers = Sequence[int | float] | np.ndarray
"""Three numbers, whole or not."""

Sdf = Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n"]]


def ellipsoid(radii: Numbers) -> Sdf:
    """An ellipsoid with half axes `radii`, to first order."""
    r = np.array(radii)

    def f(p: np.ndarray) -> np.ndarray:
        k0 = np.linalg.norm(p / r, axis=1)
        k1 = np.linalg.norm(p / r**2, axis=1)
        return k0 * (k0 - 1) / np.maximum(k1, 1e-9)

    return f


def box(half: Numbers, rounding: float = 0.0) -> Sdf:
    """A box of half sides `half`, its edges rounded by a ball."""
    h = np.array(half) - rounding

    def f(p: np.ndarray) -> np.ndarray:
        q = np.abs(p) - h
        outside = np.linalg.norm(np.maximum(q, 0), axis=1)
        return outside + np.minimum(q.max(1), 0) - rounding

    return f


def frustum(low: float, high: float, height: float) -> Sdf:
    """A cone cut off at radius `low` below and `high` above, along z; a cylinder if equal."""
    return revolved(np.array([[0, -height], [low, -height], [high, height], [0, height]]))


def torus(ring: float, tube: float) -> Sdf:
    """A ring about z."""

    def f(p: np.ndarray) -> np.ndarray:
        return np.hypot(np.hypot(p[:, 0], p[:, 1]) - ring, p[:, 2]) - tube

    return f


def superquadric(radii: Numbers, e1: float, e2: float) -> Sdf:
    """Barr's superellipsoid with exponents `e1` (along z) and `e2` (around it), to first order."""
    r = np.array(radii)

    def value(p: np.ndarray) -> np.ndarray:
        q = np.maximum(np.abs(p / r), 1e-9)
        ring = (q[:, 0] ** (2 / e2) + q[:, 1] ** (2 / e2)) ** (e2 / e1)
        return (ring + q[:, 2] ** (2 / e1)) ** (e1 / 2)

    def f(p: np.ndarray) -> np.ndarray:
        g = value(p)
        radius = np.linalg.norm(p, axis=1)
        return radius * (1 - 1 / np.maximum(g, 1e-9))  # along the ray from the middle

    return f


def polygon_distance(
    p: Float[np.ndarray, "n 2"], corners: Float[np.ndarray, "k 2"]
) -> Float[np.ndarray, "n"]:
    """Exact signed distance to a simple polygon in the plane."""
    a, b = corners, np.roll(corners, -1, axis=0)
    best = np.full(len(p), np.inf)
    inside = np.zeros(len(p), bool)
    for start, end in zip(a, b, strict=True):
        edge, to = end - start, p - start
        along = np.clip(to @ edge / max(edge @ edge, 1e-12), 0, 1)
        best = np.minimum(best, ((to - along[:, None] * edge) ** 2).sum(1))
        crosses = (start[1] > p[:, 1]) != (end[1] > p[:, 1])
        slope = edge[0] / edge[1] if edge[1] else 0.0
        inside ^= crosses & (to[:, 0] < slope * to[:, 1])
    return np.where(inside, -1.0, 1.0) * np.sqrt(best)


def revolved(outline: Float[np.ndarray, "k 2"]) -> Sdf:
    """A lathe: the polygon of (radius, height) turned about z."""
    # The axis is no surface: mirror the outline to the other side.
    rest = outline[outline[:, 0] > 1e-9]
    mirrored = np.concatenate([rest, rest[::-1] * [-1, 1]])
    corners = mirrored if len(rest) < len(outline) else outline

    def f(p: np.ndarray) -> np.ndarray:
        return polygon_distance(np.stack([np.hypot(p[:, 0], p[:, 1]), p[:, 2]], axis=1), corners)

    return f


def extruded(corners: Float[np.ndarray, "k 2"], height: float) -> Sdf:
    """A prism over a polygon, from -height to height."""

    def f(p: np.ndarray) -> np.ndarray:
        flat, up = polygon_distance(p[:, :2], corners), np.abs(p[:, 2]) - height
        outside = np.hypot(np.maximum(flat, 0), np.maximum(up, 0))
        return outside + np.minimum(np.maximum(flat, up), 0)

    return f


def tube(path: Float[np.ndarray, "k 3"], radius: float) -> Sdf:
    """A round tube along a polyline."""

    def f(p: np.ndarray) -> np.ndarray:
        best = np.full(len(p), np.inf)
        for start, end in pairwise(path):
            edge, to = end - start, p - start
            along = np.clip(to @ edge / max(edge @ edge, 1e-12), 0, 1)
            best = np.minimum(best, ((to - along[:, None] * edge) ** 2).sum(1))
        return np.sqrt(best) - radius

    return f


def placed(f: Sdf, rotation: Float[np.ndarray, "3 3"], center: Numbers) -> Sdf:
    """Turned, then moved: p_world = rotation p_local + center."""
    c = np.array(center)
    return lambda p: f((p - c) @ rotation)


def union(*parts: Sdf) -> Sdf:
    """In any part."""
    return lambda p: np.min([f(p) for f in parts], axis=0)


def intersection(*parts: Sdf) -> Sdf:
    """In all parts."""
    return lambda p: np.max([f(p) for f in parts], axis=0)


def difference(f: Sdf, *cuts: Sdf) -> Sdf:
    """In `f` and in no cut."""
    return lambda p: np.max([f(p), *(-cut(p) for cut in cuts)], axis=0)


def blended(f: Sdf, g: Sdf, radius: float) -> Sdf:
    """A union whose seam is rounded over about `radius` (quadratic smooth minimum)."""

    def joined(p: np.ndarray) -> np.ndarray:
        a, b = f(p), g(p)
        h = np.maximum(radius - np.abs(a - b), 0) / radius
        return np.minimum(a, b) - h * h * radius / 4

    return joined


def hollow(f: Sdf, thickness: float) -> Sdf:
    """The outer wall of a solid, `thickness` deep."""
    return lambda p: np.maximum(f(p), -f(p) - thickness)


def around(f: Sdf, count: int) -> Sdf:
    """`count` copies about z of what `f` has near the positive x axis."""
    sector = 2 * np.pi / count

    def f_all(p: np.ndarray) -> np.ndarray:
        angle = np.arctan2(p[:, 1], p[:, 0])
        turned = angle - sector * np.round(angle / sector)
        radius = np.hypot(p[:, 0], p[:, 1])
        return f(np.stack([radius * np.cos(turned), radius * np.sin(turned), p[:, 2]], axis=1))

    return f_all
