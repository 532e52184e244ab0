"""Gaussians that lie on a surface: of a mesh, or of what depth maps show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from captures.rotations import rotmats_to_quats
from splats import Gaussians
from splats.sh import SH_C0

from ..meshes.depth_views import DepthView, view_rays
from ..meshes.distances import sample_surface
from ..meshes.mesh import Mesh, unit_rows

_WIDTH = 0.6
"""Standard deviation across the surface in spacings: neighbors overlap to an even cover."""
_FLATNESS = 0.1
_OPACITY = 0.97


def splats_on_mesh(mesh: Mesh, count: int, *, seed: int = 0) -> Gaussians:
    """`count` flat Gaussians, evenly spread over the area, in the colors of the mesh.

    Raises:
        ValueError: A count below 1, or a mesh without area.
    """
    if count < 1:
        raise ValueError(f"`count` must be at least 1, got {count}.")
    points = sample_surface(mesh, count, seed=seed)
    normals = unit_rows(mesh.area_vectors())[points.faces]
    area = float(np.linalg.norm(mesh.area_vectors(), axis=1).sum())
    colors = mesh.face_colors_at(points.faces, points.weights)
    spacing = np.full(count, np.sqrt(area / count))
    return flat_gaussians(points.positions, normals, colors, spacing)


def splats_on_views(views: Sequence[DepthView], count: int, *, seed: int = 0) -> Gaussians:
    """About `count` flat Gaussians on the surfaces that depth maps show, evenly spread.

    Raises:
        ValueError: No view shows a surface.
    """
    from scipy.spatial import KDTree

    positions, normals, colors = surface_points(views)
    order = np.random.default_rng(seed).permutation(len(positions))
    positions, normals, colors = positions[order], normals[order], colors[order]
    kept = thinned(positions, count)
    positions, normals, colors = positions[kept], normals[kept], colors[kept]
    distances = KDTree(positions).query(positions, k=min(4, len(positions)))[0]
    near = distances.reshape(len(positions), -1)[:, 1:]
    spacing = near.mean(1) if near.shape[1] else np.full(len(positions), 0.01)
    return flat_gaussians(positions, normals, colors, spacing)


def surface_points(
    views: Sequence[DepthView],
) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "N 3"], Float[np.ndarray, "N 3"]]:
    """Position, normal and color of every solid pixel of all views.

    Raises:
        ValueError: No view shows a surface.
    """
    found = []
    for view in views:
        local = view_rays(view.camera).double().numpy() * view.depths[..., None]
        # A neighbor in free space has no depth, which makes its pixel's normal undefined.
        with np.errstate(invalid="ignore"):
            down, across = np.gradient(local, axis=(0, 1))
        normal = np.cross(across, down)
        shown = (view.weights > 0.05) & np.isfinite(local).all(-1) & np.isfinite(normal).all(-1)
        camtoworld = view.camera.camtoworlds[0].numpy()
        rotation = camtoworld[:3, :3]
        points = local[shown] @ rotation.T + camtoworld[:3, 3]
        found.append((points, unit_rows(normal[shown]) @ rotation.T, view.colors[shown]))
    positions, normals, colors = (np.concatenate(part) for part in zip(*found, strict=True))
    if not len(positions):
        raise ValueError("no view shows a surface; nothing can carry Gaussians.")
    return positions, normals, colors


def thinned(positions: Float[np.ndarray, "N 3"], count: int) -> np.ndarray:
    """Indices of about `count` points, one per cell of a lattice: where many views see the same
    place it is taken once. The cell is found by bisection; the first point of each is kept."""
    if len(positions) <= count:
        return np.arange(len(positions))
    low, extent = positions.min(0), float(np.ptp(positions, axis=0).max()) or 1.0
    fine, coarse = extent / 65536, extent
    kept = np.arange(len(positions))
    for _ in range(18):
        cell = float(np.sqrt(fine * coarse))
        keys = np.floor((positions - low) / cell).astype(np.int64)
        flat = (keys[:, 0] << 42) | (keys[:, 1] << 21) | keys[:, 2]
        kept = np.unique(flat, return_index=True)[1]
        if abs(len(kept) - count) < 0.01 * count:
            break
        fine, coarse = (cell, coarse) if len(kept) > count else (fine, cell)
    return np.sort(kept)


def flat_gaussians(
    positions: Float[np.ndarray, "N 3"],
    normals: Float[np.ndarray, "N 3"],
    colors: Float[np.ndarray, "N 3"],
    spacing: Float[np.ndarray, "N"],
) -> Gaussians:
    """Gaussians as wide as their spacing in the planes across `normals`, nearly opaque."""
    count = len(positions)
    spare = np.eye(3)[np.abs(normals).argmin(1)]
    first = unit_rows(np.cross(normals, spare))
    frames = np.stack([first, np.cross(normals, first), normals], 2)
    width = np.maximum(_WIDTH * spacing, 1e-12)
    scales = np.stack([width, width, _FLATNESS * width], 1)
    shades = torch.from_numpy(colors.astype(np.float32))
    return Gaussians(
        means=torch.from_numpy(positions).float(),
        quats=rotmats_to_quats(torch.from_numpy(frames)).float(),
        log_scales=torch.from_numpy(scales).log().float(),
        logit_opacities=torch.full((count,), float(np.log(_OPACITY / (1 - _OPACITY)))),
        sh0=((shades - 0.5) / SH_C0)[:, None],
        shN=torch.zeros(count, 0, 3),
    )
