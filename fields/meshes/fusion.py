"""Depth maps into one truncated signed distance on a sparse lattice.

Reference: Curless and Levoy, "A volumetric method for building complex models from range images",
SIGGRAPH 1996.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from ..kernels import native_kernels
from .bricks import SIDE, Bricks, sorted_bricks
from .depth_views import DepthView

TRUNCATION = 4.0
"""Distance from the surface, in cells, up to which distances are kept."""

_ALLOCATED = (-1.0, -0.5, 0.0, 0.5, 1.0)  # shares of the truncation, along the line of sight


@dataclass(frozen=True, eq=False)
class Distances:
    """Weighted sums over views at the lattice points of B bricks; filled in place."""

    origin: Float[np.ndarray, "3"]
    """Position of lattice point (0, 0, 0)."""
    spacing: float
    """Distance of neighboring lattice points."""
    coordinates: Int[np.ndarray, "B 3"]
    """Of the bricks, sorted."""
    sums: Float[np.ndarray, "B 8 8 8 5"] = field(repr=False)
    """Sum of weights times distances (in truncations, 1 where free), and of r, g, b and weight of
    the views that see a surface nearby; float32."""
    weights: Float[np.ndarray, "B 8 8 8"] = field(repr=False)
    """Sum of weights."""

    @classmethod
    def around(cls, coordinates: Int[np.ndarray, "B 3"], spacing: float) -> Distances:
        """Nothing seen yet."""
        shape = (len(coordinates), SIDE, SIDE, SIDE)
        sums, weights = np.zeros((*shape, 5), np.float32), np.zeros(shape, np.float32)
        return cls(np.zeros(3), spacing, coordinates, sums, weights)

    def bricks(self, *, least_weight: float) -> Bricks:
        """Mean distances in world units; unknown where less than `least_weight` was seen."""
        known = self.weights >= least_weight
        mean = self.sums[..., 0] / np.where(known, self.weights, 1)
        values = np.where(known, mean * (TRUNCATION * self.spacing), np.nan).astype(np.float32)
        colors = self.sums[..., 1:4] / np.maximum(self.sums[..., 4:], 1e-12)
        return Bricks(self.origin, self.spacing, self.coordinates, values, colors)


def fuse(
    views: Sequence[DepthView] | Iterable[DepthView],
    *,
    spacing: float,
    bounds: Float[np.ndarray, "2 3"] | None = None,
    least_weight: float = 0.2,
) -> Bricks:
    """Signed distances, positive in front of the surfaces that the views see, with colors.

    Args:
        views: Gone through twice: to find the surfaces, then to measure.
        spacing: Size of a cell, world units.
        bounds: Corners of a box; surfaces outside of it are left out.
        least_weight: Belief below which a point stays unknown; a view straight ahead counts 1.

    Raises:
        ValueError: No view shows a surface inside the bounds, or the lattice would be too fine.
    """
    held = list(views)
    found = [surface_bricks(view, spacing, bounds) for view in held]
    coordinates = sorted_bricks(np.concatenate([np.zeros((0, 3), np.int64), *found]))
    if not len(coordinates):
        raise ValueError("no view shows a surface inside the bounds; nothing can be meshed.")
    distances = Distances.around(coordinates, spacing)
    for view in held:
        integrate(distances, view)
    return distances.bricks(least_weight=least_weight)


def surface_bricks(
    view: DepthView, spacing: float, bounds: Float[np.ndarray, "2 3"] | None
) -> Int[np.ndarray, "N 3"]:
    """Coordinates of the bricks within a truncation of what a view sees."""
    K, camtoworld = view.camera.Ks[0].numpy(), view.camera.camtoworlds[0].numpy()
    rows, columns = np.nonzero((view.weights > 0) & np.isfinite(view.depths))
    depths = view.depths[rows, columns].astype(np.float64)
    rays = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], 1) @ np.linalg.inv(K).T
    unit = 1 / np.linalg.norm(rays, axis=1)
    parts = []
    for share in _ALLOCATED:
        moved = depths + share * TRUNCATION * spacing * unit
        points = (rays * moved[:, None]) @ camtoworld[:3, :3].T + camtoworld[:3, 3]
        if bounds is not None:
            points = points[((points >= bounds[0]) & (points <= bounds[1])).all(1)]
        parts.append(sorted_bricks(np.floor(points / (spacing * SIDE)).astype(np.int64)))
    return np.concatenate(parts)


def integrate(distances: Distances, view: DepthView, *, native: bool = True) -> None:
    """Add one view to the sums.

    A point at distance d in front of the depth that its pixel shows, measured along the line of
    sight, adds min(1, d / truncation); points more than a truncation behind it are hidden and add
    nothing. Depths are interpolated where the four pixels around the point lie on one surface.
    """
    kernels = native_kernels() if native else None
    viewmat, K = view.camera.viewmats[0].numpy(), view.camera.Ks[0].numpy()
    pose = np.concatenate([viewmat[:3].reshape(-1), K[:2].reshape(-1)])
    corners = distances.origin + distances.spacing * SIDE * distances.coordinates
    truncation = TRUNCATION * distances.spacing
    if kernels is not None:
        images = (view.depths, view.weights, view.colors)
        kernels.integrate_depths(
            np.ascontiguousarray(corners),
            distances.spacing,
            truncation,
            pose,
            *(np.ascontiguousarray(image, np.float32) for image in images),
            distances.sums,
            distances.weights,
        )
        return
    steps = distances.spacing * np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), -1)
    for begin in range(0, len(corners), 1024):
        part = slice(begin, begin + 1024)
        points = (corners[part, None] + steps.reshape(1, -1, 3)).reshape(-1, 3)
        sums, weights = distances.sums[part].reshape(-1, 5), distances.weights[part].reshape(-1)
        _integrate_points(points, pose, truncation, view, sums, weights)


def _integrate_points(
    points: np.ndarray,
    pose: np.ndarray,
    truncation: float,
    view: DepthView,
    sums: np.ndarray,
    weights: np.ndarray,
) -> None:
    """The twin of the kernel, in its order of operations."""
    m, K = pose[:12].reshape(3, 4), pose[12:].reshape(2, 3)
    px, py, pz = points.T
    x, y, z = (m[i, 0] * px + m[i, 1] * py + m[i, 2] * pz + m[i, 3] for i in range(3))
    height, width = view.depths.shape
    ahead = z > 0
    inverse = 1 / np.where(ahead, z, 1.0)
    xn, yn = x * inverse, y * inverse
    u = K[0, 0] * xn + K[0, 1] * yn + K[0, 2]
    v = K[1, 0] * xn + K[1, 1] * yn + K[1, 2]
    seen = np.flatnonzero(ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height))
    u, v, z, xn, yn = u[seen], v[seen], z[seen], xn[seen], yn[seen]
    column, row = u.astype(np.int64), v.astype(np.int64)
    weight, depth = view.weights[row, column], view.depths[row, column].astype(np.float64)
    left, top = np.floor(u - 0.5), np.floor(v - 0.5)
    across, down = u - 0.5 - left, v - 0.5 - top
    low, t = left.astype(np.int64), top.astype(np.int64)
    whole = (low >= 0) & (t >= 0) & (low + 1 < width) & (t + 1 < height)
    low, t = np.where(whole, low, 0), np.where(whole, t, 0)
    r, b = np.minimum(low + 1, width - 1), np.minimum(t + 1, height - 1)
    four = [(t, low), (t, r), (b, low), (b, r)]
    d0, d1, d2, d3 = (view.depths[place].astype(np.float64) for place in four)
    with np.errstate(invalid="ignore"):
        for place, value in zip(four, (d0, d1, d2, d3), strict=True):
            whole &= (np.abs(value - depth) < truncation) & (view.weights[place] > 0)
        upper, lower = d0 + across * (d1 - d0), d2 + across * (d3 - d2)
        depth = np.where(whole, upper + down * (lower - upper), depth)
    ahead_by = (depth - z) * np.sqrt(xn * xn + yn * yn + 1)
    counts = np.flatnonzero((weight > 0) & (ahead_by >= -truncation))
    rows, weight = seen[counts], weight[counts]
    share = np.minimum(1.0, ahead_by[counts] / truncation).astype(np.float32)
    sums[rows, 0] += weight * share
    weights[rows] += weight
    near = ahead_by[counts] < truncation
    rows, weight = rows[near], weight[near]
    color = view.colors[row[counts][near], column[counts][near]]
    sums[rows, 1:4] += weight[:, None] * color
    sums[rows, 4] += weight
