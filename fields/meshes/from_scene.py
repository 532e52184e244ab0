"""Anything that renders becomes a mesh: depth maps, fused, cleaned and colored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from captures import Cameras, Renderable

from .bricks import sorted_bricks
from .cleaning import decimated, without_small_pieces
from .depth_views import DepthView, depth_views
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
    """Side of a cell in units of the scene; None takes what a pixel of the views covers."""
    faces: int | None = None
    """Most faces; None keeps all, or 60,000 where a texture is baked."""
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


def mesh_of_scene(scene: Renderable, cameras: Cameras, options: MeshOptions | None = None) -> Mesh:
    """The surface that `cameras` see of a scene, in the scene's units and axes.

    Raises:
        ValueError: The cameras see no surface inside the bounds.
    """
    options = options or MeshOptions()
    views = list(depth_views(scene, cameras))
    return mesh_of_views(views, _box(scene, options), options)


def mesh_of_views(
    views: Sequence[DepthView], bounds: np.ndarray | None, options: MeshOptions
) -> Mesh:
    """`mesh_of_scene` from depth maps that are there already."""
    cell = options.cell or _affordable(views, bounds, pixel_size(views))
    logger.info("Fusing %d depth maps with cells of %.3g.", len(views), cell)
    mesh = extract_surface(fuse(views, spacing=cell, bounds=bounds))
    if not len(mesh.faces):
        raise ValueError("the views agree on no surface; take smaller cells or more views.")
    mesh = without_small_pieces(mesh, share=options.smallest_piece)
    most = options.faces or (_TEXTURED_FACES if options.texture else None)
    if most is not None:
        mesh = decimated(mesh, most)
    if options.texture:
        mesh = textured(mesh, options.texture, coloring_from_views(views, mesh))
    return mesh


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
