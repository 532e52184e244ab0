"""The surface of a radiance field: where its density passes the level at which rays end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from captures import Cameras

from ..contract import Field
from ..rays import camera_rays
from ..scene import FieldScene
from .bricks import SIDE, Bricks, sorted_bricks
from .depth_views import DepthView, view_rays
from .fusion import surface_bricks

_RAYS = 1 << 15
_BRICKS = 256
_POINTS = 200_000
_TINY = 1e-6  # of the level; the logarithm of an empty place


def field_depths(
    scene: FieldScene, camera: Cameras
) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Median z-depths, and how far the expected ones are from them, relative to them.

    Where the light falls below one half, most of a ray's surface is; fog in front of it and light
    that leaks through move the expected depth and not this one. Renderers without medians give
    expected depths.
    """
    rays = camera_rays(scene.T_scene_field.inverse().apply_to_cameras(camera)).to(scene.device)
    depths, spreads = [], []
    for begin in range(0, len(rays), _RAYS):
        part = rays[begin : begin + _RAYS]
        with torch.no_grad():
            seen = scene.renderer.render_rays(part)
        expected = seen.distances / seen.opacities.clamp(min=1e-6)
        median = expected if seen.median_distances is None else seen.median_distances
        scale = part.depth_scales * scene.T_scene_field.scale
        depths.append((median * scale).cpu())
        spreads.append(((expected - median).abs() / median.clamp(min=1e-9)).cpu())
    shape = (camera.height, camera.width)
    return torch.cat(depths).view(shape), torch.cat(spreads).view(shape)


def density_bricks(
    scene: FieldScene,
    field: Field,
    views: Sequence[DepthView],
    *,
    spacing: float,
    bounds: Float[np.ndarray, "2 3"] | None,
) -> Bricks:
    """log(level / density) around the surfaces that views show: negative inside.

    The level is the median of the density at what the views see: half of those points lie inside,
    in whatever unit the field counts. In its logarithm a density that falls off exponentially is
    linear between lattice points.

    Raises:
        ValueError: No view shows a surface.
    """
    found = [surface_bricks(view, spacing, bounds) for view in views]
    coordinates = sorted_bricks(np.concatenate([np.zeros((0, 3), np.int64), *found]))
    if not len(coordinates):
        raise ValueError("no view shows a surface inside the bounds; nothing can be meshed.")
    level = float(_density(scene, field, _seen_points(views)).median())
    if not level > 0:
        raise ValueError("the field is empty where its rays end; fuse its depths instead.")
    shape = (len(coordinates), SIDE, SIDE, SIDE)
    bricks = Bricks(np.zeros(3), spacing, coordinates, np.empty(shape, np.float32))
    for begin in range(0, len(coordinates), _BRICKS):
        rows = slice(begin, begin + _BRICKS)
        points = torch.from_numpy(bricks.positions(rows)).float().reshape(-1, 3)
        density = _density(scene, field, points).double().clamp(min=_TINY * level)
        bricks.values[rows] = (level / density).log().view(-1, *shape[1:]).float().numpy()
    return bricks


def _seen_points(views: Sequence[DepthView]) -> Float[Tensor, "N 3"]:
    """Points at which rays of all views end, evenly chosen."""
    found = []
    for view in views:
        shown = torch.from_numpy((view.weights > 0) & np.isfinite(view.depths))
        local = view_rays(view.camera)[shown] * torch.from_numpy(view.depths)[shown][:, None]
        pose = view.camera.camtoworlds[0].float()
        found.append(local @ pose[:3, :3].T + pose[:3, 3])
    points = torch.cat(found)
    return points[:: max(1, len(points) // _POINTS)]


@torch.no_grad()
def _density(scene: FieldScene, field: Field, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    """Density at scene positions, per unit of the field."""
    local = scene.T_scene_field.inverse().apply(points).to(scene.device)
    return field.density(local).cpu()
