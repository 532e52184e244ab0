"""Textures for meshes: an atlas of the surface, and colors baked into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from .depth_views import DepthView
from .mesh import Mesh, unit_rows
from .rasterizer import rasterize_triangles

Coloring = Callable[[Float[np.ndarray, "N 3"], Float[np.ndarray, "N 3"]], Float[np.ndarray, "N 3"]]
"""From surface points and unit normals to sRGB in [0, 1]."""

_AT_ONCE = 1 << 18
_SHARPNESS = 4  # power of the cosine by which a view counts: the most frontal views prevail
_BEHIND = 0.01  # share of its depth by which a point may lie behind what its pixel shows


def textured(mesh: Mesh, size: int, coloring: Coloring) -> Mesh:
    """The mesh with a square texture of `size` pixels that `coloring` fills.

    Charts are unfolded and packed by xatlas (Young, MIT licence); pixels between them repeat the
    nearest chart, so that filtering across a border sees no seam.

    Raises:
        ImportError: xatlas is not installed.
        ValueError: A size that is not positive.
    """
    if size < 8:
        raise ValueError(f"`size` must be at least 8 pixels, got {size}.")
    unwrapped = unwrap(mesh)
    assert unwrapped.uvs is not None
    return replace(unwrapped, texture=bake(unwrapped, unwrapped.uvs, size, coloring))


def unwrap(mesh: Mesh) -> Mesh:
    """The mesh with texture places in charts that do not overlap, and a white texture."""
    try:
        import xatlas
    except ImportError:
        raise ImportError(
            'Textures need xatlas; install it with pip install "fieldwright[mesh]".'
        ) from None
    local = mesh.vertices - mesh.vertices.mean(0)
    local = local / max(float(np.abs(local).max()), 1e-300)
    sources, faces, places = xatlas.parametrize(
        local.astype(np.float32), mesh.faces.astype(np.uint32)
    )
    if len(faces) != len(mesh.faces) or not np.array_equal(sources[faces], mesh.faces):
        raise ValueError("`mesh` has degenerate faces that cannot be unfolded; clean it first.")
    return replace(mesh, uvs=places[faces], texture=np.full((2, 2, 3), 255, np.uint8))


def bake(mesh: Mesh, uvs: Float[np.ndarray, "F 3 2"], size: int, coloring: Coloring) -> np.ndarray:
    """Texture [size, size, 3]: each pixel the color of the surface point that lies there."""
    from scipy.ndimage import distance_transform_edt

    corners = uvs.astype(np.float64) * size
    corners[..., 1] = size - corners[..., 1]
    ones = np.ones(corners.shape[:2])
    found = rasterize_triangles(corners, ones, width=size, height=size)
    filled = np.flatnonzero(found.faces.reshape(-1) >= 0)
    image = np.zeros((size * size, 3), np.float32)
    normals = mesh.vertex_normals()
    for begin in range(0, len(filled), _AT_ONCE):
        part = filled[begin : begin + _AT_ONCE]
        faces = mesh.faces[found.faces.reshape(-1)[part]]
        weights = found.weights.reshape(-1, 3)[part]
        points = np.einsum("nc,ncd->nd", weights, mesh.vertices[faces])
        image[part] = coloring(points, unit_rows(np.einsum("nc,ncd->nd", weights, normals[faces])))
    if len(filled):
        empty = found.faces < 0
        nearest = distance_transform_edt(empty, return_distances=False, return_indices=True)
        image = image.reshape(size, size, 3)[tuple(nearest)]  # pyright: ignore[reportArgumentType]
    return np.rint(255 * image.reshape(size, size, 3).clip(0, 1)).astype(np.uint8)


def coloring_from_views(views: Sequence[DepthView], mesh: Mesh) -> Coloring:
    """Colors of the views that see a point, the most frontal ones before all.

    What no view sees takes the color of the nearest vertex, or gray.
    """
    from scipy.spatial import KDTree

    tree = KDTree(mesh.vertices) if mesh.colors is not None else None

    def coloring(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        sums, weights = np.zeros((len(points), 3)), np.zeros((len(points), 1))
        for view in views:
            color, weight = _seen(view, points, normals)
            sums += weight[:, None] * color
            weights += weight[:, None]
        found = sums / np.maximum(weights, 1e-12)
        unseen = np.flatnonzero(weights[:, 0] <= 1e-12)
        found[unseen] = 0.5
        if tree is not None and mesh.colors is not None and len(unseen):
            found[unseen] = mesh.colors[tree.query(points[unseen])[1]]
        return found.astype(np.float32)

    return coloring


def _seen(
    view: DepthView, points: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Color [N, 3] and weight [N] of each point in one view; weight 0 where it is hidden."""
    viewmat, K = view.camera.viewmats[0].numpy(), view.camera.Ks[0].numpy()
    local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    z = np.maximum(local[:, 2], 1e-12)
    u, v = (local @ K.T)[:, :2].T / z
    height, width = view.depths.shape
    inside = (local[:, 2] > 0) & (u >= 0.5) & (u < width - 0.5) & (v >= 0.5) & (v < height - 0.5)
    u, v = np.where(inside, u, 0.5), np.where(inside, v, 0.5)
    column, row = u.astype(int), v.astype(int)
    depth = view.depths[row, column]
    shown = inside & (view.weights[row, column] > 0) & np.isfinite(depth)
    shown &= z <= np.where(shown, depth, 0) * (1 + _BEHIND)
    toward = unit_rows(view.camera.positions[0].numpy() - points)
    cosine = np.maximum((toward * normals).sum(1), 0)
    left, top = (u - 0.5).astype(int), (v - 0.5).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (u - 0.5 - left)[:, None], (v - 0.5 - top)[:, None]
    upper = view.colors[top, left] * (1 - across) + view.colors[top, right] * across
    lower = view.colors[bottom, left] * (1 - across) + view.colors[bottom, right] * across
    return upper * (1 - down) + lower * down, np.where(shown, cosine**_SHARPNESS, 0.0)
