"""Anything that renders becomes a mesh: depth maps, fused, cleaned and colored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from captures import Cameras, Renderable

from ..contract import Field
from ..scene import FieldScene
from .bricks import Bricks, sorted_bricks
from .cleaning import decimated, without_small_pieces
from .depth_views import DepthView, depth_views
from .from_field import density_bricks
from .fusion import fuse, surface_bricks
from .marching import extract_surface
from .mesh import Mesh
from .texturing import coloring_from_views, textured

_MAX_BRICKS = 60_000
"""Bricks of 512 cells that are held at once: about 900 MB with their sums."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MeshOptions:
    """How a scene is meshed; the defaults work unedited."""

    cell: float | None = None
    """Side of a cell in units of the scene; None takes what 1.5 pixels of the views
    cover."""
    faces: int | None = None
    """Most faces; None keeps all, or 60,000 where a texture is baked."""
    surface: Literal["depths", "density"] = "depths"
    """Where the surface of a field is: fused from its median depths, or where its density passes
    the level at which rays end. Other scenes have depths only."""
    texture: int = 0
    """Side in pixels of a texture baked from the views; 0 colors the vertices."""
    smallest_piece: float = 0.002
    """Loose pieces below this share of the largest one's area are dropped."""
    within: tuple[float, ...] | None = None
    """Mesh what lies in a box: min x y z, max x y z; None takes the scene's bounds."""

    def __post_init__(self) -> None:
        if self.cell is not None and not 0 < self.cell < float("inf"):
            raise ValueError(f"`cell` must be positive and finite, got {self.cell}.")
        if self.texture < 0 or (self.faces is not None and self.faces < 4):
            raise ValueError(
                "`texture` must be 0 or more pixels and `faces` at least 4, "
                f"got {self.texture} and {self.faces}."
            )
        if self.within is not None and len(self.within) != 6:
            raise ValueError(f"`within` must hold 6 numbers, got {len(self.within)}.")


_TEXTURED_FACES = 60_000
_PIXELS = 1.5  # per cell; finer ones hold noise


def mesh_of_scene(scene: Renderable, cameras: Cameras, options: MeshOptions | None = None) -> Mesh:
    """The surface that `cameras` see of a scene, in the scene's units and axes.

    Raises:
        ValueError: The cameras see no surface inside the bounds.
    """
    options = options or MeshOptions()
    views, bounds = list(depth_views(scene, cameras)), _box(scene, options)
    cell = options.cell or _affordable(views, bounds, _PIXELS * pixel_size(views))
    if options.surface == "depths":
        return mesh_of_views(views, fuse(views, spacing=cell, bounds=bounds), options)
    field = getattr(scene.renderer, "field", None) if isinstance(scene, FieldScene) else None
    if not isinstance(scene, FieldScene) or not isinstance(field, Field):
        raise ValueError("`surface` is density, which only fields have; use --surface depths.")
    bricks = density_bricks(scene, field, views, spacing=cell, bounds=bounds)
    return mesh_of_views(views, bricks, options)


def mesh_of_views(views: Sequence[DepthView], bricks: Bricks, options: MeshOptions) -> Mesh:
    """The zero level of `bricks`, cleaned and colored by the views."""
    logger.info("%d depth maps, cells of %.3g.", len(views), bricks.spacing)
    mesh = extract_surface(bricks)
    if not len(mesh.faces):
        raise ValueError("the views agree on no surface; take smaller cells or more views.")
    mesh = without_small_pieces(mesh, share=options.smallest_piece)
    most = options.faces or (_TEXTURED_FACES if options.texture else None)
    if most is not None:
        mesh = decimated(mesh, most)
    coloring = coloring_from_views(views, mesh)
    if options.texture:
        return textured(mesh, options.texture, coloring)
    return replace(mesh, colors=coloring(mesh.vertices, mesh.vertex_normals()))


def pixel_size(views: Sequence[DepthView]) -> float:
    """What a pixel covers of the surface in the median view, world units.

    Raises:
        ValueError: No view shows a surface.
    """
    sizes = []
    for view in views:
        shown = (view.weights > 0) & np.isfinite(view.depths)
        if shown.any():
            sizes.append(float(np.median(view.depths[shown]) / view.camera.Ks[0, 0, 0]))
    if not sizes:
        raise ValueError("no view shows a surface; nothing can be meshed.")
    return float(np.median(sizes))


def _affordable(views: Sequence[DepthView], bounds: np.ndarray | None, cell: float) -> float:
    """`cell`, enlarged until the bricks around the surface fit into memory."""
    while True:
        found = [surface_bricks(view, cell, bounds) for view in views]
        count = len(sorted_bricks(np.concatenate(found)))
        if count <= _MAX_BRICKS:
            return cell
        cell *= 1.05 * float(np.sqrt(count / _MAX_BRICKS))  # a surface: the square of the size


def _box(scene: Renderable, options: MeshOptions) -> np.ndarray:
    if options.within is not None:
        return np.reshape(options.within, (2, 3)).astype(np.float64)
    low, high = scene.bounds().double().cpu().numpy()
    margin = 0.02 * (high - low)  # bounds of splats are those of their centers
    return np.stack([low - margin, high + margin])
