"""A z-buffer: which triangle every pixel shows, and where on it.

The native kernel and its NumPy twin do the same arithmetic in float64 and agree in every bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32

from ..kernels import native_kernels

_CANDIDATES = 1 << 22
"""Pixels that the twin tests at once."""


@dataclass(frozen=True, eq=False)
class Fragments:
    """The nearest triangle of each pixel."""

    faces: Int32[np.ndarray, "H W"]
    """Its number; -1 where no triangle covers the pixel's center."""
    weights: Float[np.ndarray, "H W 3"]
    """Perspective-correct barycentric coordinates of what the pixel's center sees, float32."""
    inverse_depths: Float[np.ndarray, "H W"]
    """1 / z-depth, float32; 0 where nothing is."""


def rasterize_triangles(
    corners: Float[np.ndarray, "F 3 2"],
    inverse_depths: Float[np.ndarray, "F 3"],
    *,
    width: int,
    height: int,
    native: bool = True,
) -> Fragments:
    """Fragments of triangles that were projected to the image.

    A pixel belongs to a triangle if its center lies inside or on the border; the largest inverse
    depth wins, and the lowest number among equals. Both windings are drawn. Triangles without area
    cover nothing.

    Args:
        corners: Pixel positions, float64; centers of pixels lie at +0.5.
        inverse_depths: 1 / z of the corners, positive, float64; any constant draws them flat.
        width: Pixels.
        height: Pixels.
        native: Use the compiled kernel where there is one.
    """
    corners = np.ascontiguousarray(corners, np.float64)
    inverse_depths = np.ascontiguousarray(inverse_depths, np.float64)
    kernels = native_kernels() if native else None
    found = Fragments(
        np.full((height, width), -1, np.int32),
        np.zeros((height, width, 3), np.float32),
        np.zeros((height, width), np.float32),
    )
    if kernels is not None:
        arrays = (found.faces, found.weights, found.inverse_depths)
        kernels.rasterize_triangles(corners, inverse_depths, *arrays)
    else:
        _rasterize(corners, inverse_depths, found)
    return found


def _rasterize(corners: np.ndarray, inverse_depths: np.ndarray, found: Fragments) -> None:
    """The twin: all pixels of all boxes around triangles, some millions at a time."""
    height, width = found.faces.shape
    keys = np.zeros(height * width, np.uint64)
    first = np.ceil(corners.min(1) - 0.5).clip(0, (width, height)).astype(np.int64)
    last = np.floor(corners.max(1) - 0.5).clip(-1, (width - 1, height - 1)).astype(np.int64)
    extent = (last - first + 1).clip(0)
    counts = extent[:, 0] * extent[:, 1]
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(corners):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _CANDIDATES, "right")))
        _draw(np.arange(begin, end), corners, inverse_depths, first, extent, counts, keys, width)
        begin = end
    hit = np.flatnonzero(keys)
    faces = (np.uint64(0xFFFFFFFF) - (keys[hit] & np.uint64(0xFFFFFFFF))).astype(np.int64)
    weights, depth, _ = _cover(faces, hit % width, hit // width, corners, inverse_depths)
    found.faces.reshape(-1)[hit] = faces
    found.weights.reshape(-1, 3)[hit] = weights
    found.inverse_depths.reshape(-1)[hit] = depth


def _draw(
    chosen: np.ndarray,
    corners: np.ndarray,
    inverse_depths: np.ndarray,
    first: np.ndarray,
    extent: np.ndarray,
    counts: np.ndarray,
    keys: np.ndarray,
    width: int,
) -> None:
    """Merge the triangles `chosen` into `keys`: inverse depth above, face number below."""
    faces = np.repeat(chosen, counts[chosen])
    if not len(faces):
        return
    starts = np.cumsum(counts[chosen]) - counts[chosen]
    place = np.arange(len(faces)) - np.repeat(starts, counts[chosen])
    row, column = np.divmod(place, extent[faces, 0])
    x, y = column + first[faces, 0], row + first[faces, 1]
    _, depth, inside = _cover(faces, x, y, corners, inverse_depths)
    nearness = depth[inside].view(np.uint32).astype(np.uint64) << np.uint64(32)
    key = nearness | (np.uint64(0xFFFFFFFF) - faces[inside].astype(np.uint64))
    np.maximum.at(keys, (y * width + x)[inside], key)


def _cover(
    faces: np.ndarray, x: np.ndarray, y: np.ndarray, corners: np.ndarray, inverse_depths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corrected weights [N, 3], inverse depth [N] (float32) and coverage [N] of pixel centers."""
    (ax, ay), (bx, by), (cx, cy) = (corners[faces, k].T for k in range(3))
    px, py = x + 0.5, y + 0.5
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    a = (bx - px) * (cy - py) - (by - py) * (cx - px)
    b = (cx - px) * (ay - py) - (cy - py) * (ax - px)
    c = (ax - px) * (by - py) - (ay - py) * (bx - px)
    sign = np.where(area < 0, -1.0, 1.0)
    inside = (area != 0) & (a * sign >= 0) & (b * sign >= 0) & (c * sign >= 0)
    scale = 1 / np.where(area == 0, 1.0, area)
    qa, qb, qc = (inverse_depths[faces, k] * (w * scale) for k, w in enumerate((a, b, c)))
    total = qa + qb + qc
    depth = total.astype(np.float32)
    inside &= depth > 0
    weights = np.stack([qa, qb, qc], 1) / np.where(total == 0, 1.0, total)[:, None]
    return weights.astype(np.float32), depth, inside
