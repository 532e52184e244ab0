"""Where the content of a capture may be: the visual hull of photos with alpha, else a wide cube."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from captures import Capture

_ROUGH = 64
"""Cells along each axis of the first carving, which finds the box."""
_FIRST = 32
"""Cells along each axis that are looked at before any is divided."""
_LEVELS = 8
"""Radii by which silhouettes are widened: 1 to 128 pixels."""
_MIN_VIEWS = 0.3
"""Share of the photos that must look at a cell; what fewer see is outside of the scene."""
_FREE = 0.2
"""Share of a camera's distance from the origin within which there is nothing around it."""
_SURROUNDINGS = 8.0
"""Half side of the cube of captures without alpha, in units of the farthest camera's distance."""


@dataclass(frozen=True)
class Hull:
    """A cube and those of its cells that no photo rules out."""

    low: Float[Tensor, "3"]
    """Lower corner, capture units."""
    side: float
    """Side of the cube."""
    cells: Int64[Tensor, "N 3"]
    """Cells (x, y, z) that may hold something."""
    resolution: int
    """Cells along each axis."""
    bounded: bool
    """True where photos with alpha say that there is nothing else."""


def carve(capture: Capture, resolution: int) -> Hull:
    """The hull of a capture on a grid.

    Cells whose projection a training photo shows as fully transparent are empty, and so are those
    that hardly any photo shows or that are close to a camera. The cube fits what is left. Photos
    without alpha rule nothing out; their cube reaches eight camera distances in every direction.

    Args:
        capture: With cameras around the origin at a distance of at most 1, as `load_capture`
            brings them.
        resolution: Cells along each axis, a power of two.

    Raises:
        ValueError: The photos' alpha leaves nothing.
    """
    alphas = [capture.view(index).alpha for index in capture.train]
    if any(alpha is None for alpha in alphas):
        half = _SURROUNDINGS
        axis = torch.arange(resolution)
        cells = torch.cartesian_prod(axis, axis, axis)
        return Hull(torch.full((3,), -half), 2 * half, cells, resolution, bounded=False)
    found = [_pyramid(alpha > 0) for alpha in alphas if alpha is not None]
    low, side = torch.full((3,), -1.0), 2.0
    for cells_across in (_ROUGH, _ROUGH, resolution):
        across = min(_FIRST, cells_across)
        cells = torch.cartesian_prod(*[torch.arange(across)] * 3)
        cells = _left(capture, found, low, side, cells, across)
        while across < cells_across and len(cells):
            octants = torch.cartesian_prod(*[torch.arange(2)] * 3)
            cells, across = (2 * cells[:, None] + octants).flatten(0, 1), 2 * across
            cells = _left(capture, found, low, side, cells, across)
        if len(cells) == 0:
            raise ValueError(
                f"the alpha of the photos in {capture.source} leaves no space for an object: they "
                "are all transparent, or the poses do not fit them."
            )
        if cells_across == resolution:
            break
        size = side / cells_across
        first, last = cells.amin(0) * size, (cells.amax(0) + 1) * size
        middle, new = low + 0.5 * (first + last), float((last - first).max())
        low, side = middle - 0.5 * new, new
    return Hull(low, side, cells, resolution, bounded=True)


def _left(
    capture: Capture,
    silhouettes: list[UInt8[Tensor, "H W"]],
    low: Tensor,
    side: float,
    cells: Int64[Tensor, "M 3"],
    resolution: int,
) -> Int64[Tensor, "N 3"]:
    """Those `cells` of a cube that no photo rules out."""
    size = side / resolution
    views = torch.zeros(len(cells))
    for index, solid in zip(capture.train, silhouettes, strict=True):
        centers = low + (cells + 0.5) * size
        viewmat = capture.cameras.viewmats[index].float()
        K = capture.cameras.Ks[index].float()
        at = centers @ viewmat[:3, :3].T + viewmat[:3, 3]
        depth = at[:, 2]
        pixel = at[:, :2] / depth.clamp(min=1e-6)[:, None] * K.diagonal()[:2] + K[:2, 2]
        column, row = pixel[:, 0].floor().long(), pixel[:, 1].floor().long()
        height, width = solid.shape
        free = at.norm(dim=1) < _FREE * float(viewmat[:3, 3].norm())
        inside = (depth > size) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        # The cell's circumscribed sphere in pixels, rounded up to a power of two.
        radius = float(K[0, 0]) * 0.5 * math.sqrt(3) * size / depth.clamp(min=size)
        level = radius.clamp(min=1).log2().ceil().long().clamp(max=_LEVELS - 1)
        near = solid[row.clamp(0, height - 1), column.clamp(0, width - 1)]
        seen = (near >> level.to(torch.uint8) & 1).bool()
        views += inside
        keep = (~inside | seen) & ~free
        cells, views = cells[keep], views[keep]
    return cells[views >= max(1.0, _MIN_VIEWS * len(silhouettes))]


def _pyramid(solid: Bool[Tensor, "H W"]) -> UInt8[Tensor, "H W"]:
    """Bit l is set within squares of radius 2 ** l around solid pixels."""
    wide = spread(solid, 1)
    bits = wide.to(torch.uint8)
    for level in range(1, _LEVELS):
        wide = spread(wide, 1 << (level - 1))
        bits |= wide.to(torch.uint8) << level
    return bits


def spread(solid: Bool[Tensor, "H W"], radius: int) -> Bool[Tensor, "H W"]:
    """Pixels within a square of `radius` around solid ones, from running sums."""
    for axis in (0, 1):
        length = solid.shape[axis]
        sums = torch.cumsum(solid.int(), axis)
        index = torch.arange(length)
        last = sums.index_select(axis, (index + radius).clamp(max=length - 1))
        before = sums.index_select(axis, (index - radius - 1).clamp(min=0))
        begins = (index - radius - 1 < 0).view((-1, 1) if axis == 0 else (1, -1))
        solid = last - before.masked_fill(begins, 0) > 0
    return solid
