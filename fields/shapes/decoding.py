"""A signed distance function to a mesh, asked only near the surface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from .lattice import surface_of_lattice
from .mesh import MeshError, TriangleMesh

COARSEST = 32
"""Cells per side of the first lattice: its cells are smaller than the distance at which learned
distances are cut off, so no cell near the surface is missed."""

Distance = Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n"]]
"""Signed distances at box points, negative inside."""


def extract_mesh(
    distance: Distance, resolution: int, *, slack: float = 1.0, dense: bool = False
) -> TriangleMesh:
    """The zero set inside the box [-1, 1]^3 by marching cubes on `resolution` cells per side.

    Starts on a lattice of 32 to 63 cells and halves only cells whose corners come closer to the
    surface than `slack` cell diagonals, so the number of values grows with the area, not with the
    volume. Elsewhere the coarse values are interpolated, which keeps their sign.

    Args:
        distance: What to mesh.
        resolution: Cells per side, 32 or more. One value per lattice point is held: 68 MB at 256.
        slack: 1 is right for exact distances; more is safer where a model exaggerates them.
        dense: Ask everywhere, as a check.

    Raises:
        MeshError: The field has no surface in the box.
    """
    values = lattice_values(distance, resolution, slack=slack, dense=dense)
    if not values.min() < 0 <= values.max():
        side = "outside" if values.min() >= 0 else "inside"
        raise MeshError(f"the decoded field has no surface: the whole box is {side}.")
    # Outside of the box there is nothing: a layer of outside closes what touches its border.
    spacing = 2.0 / resolution
    padded = np.pad(values, 1, constant_values=spacing)
    return surface_of_lattice(padded, np.full(3, -1 - spacing), spacing)


def lattice_values(
    distance: Distance, resolution: int, *, slack: float = 1.0, dense: bool = False
) -> Float[np.ndarray, "p p p"]:
    """Values at the (resolution + 1)^3 lattice points; see `extract_mesh`."""
    if resolution < COARSEST:
        raise ValueError(f"`resolution` must be at least {COARSEST}, got {resolution}.")
    halvings = 0 if dense else int(np.log2(resolution / COARSEST))
    size = -(-resolution >> halvings) if halvings == 0 else resolution // 2**halvings
    if size * 2**halvings != resolution:
        raise ValueError(
            f"`resolution` must be {COARSEST} to {2 * COARSEST - 1} times a power of two, "
            f"got {resolution}; {size * 2**halvings} is the nearest below."
        )
    axis = np.linspace(-1, 1, size + 1)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    values = distance(points).astype(np.float32).reshape((size + 1,) * 3)
    cells: Bool[np.ndarray, "c c c"] = np.ones((size,) * 3, bool)
    for _ in range(halvings):
        cells = cells & (_nearest_corner(values) <= slack * np.sqrt(3) * (2.0 / size))
        values, size = _doubled(values), 2 * size
        cells = cells.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        wanted = _corners_of(cells)
        wanted[::2, ::2, ::2] = False  # known from the coarser lattice
        rows = np.argwhere(wanted)
        values[wanted] = distance(rows * (2.0 / size) - 1)
    return values


def _nearest_corner(values: Float[np.ndarray, "p p p"]) -> Float[np.ndarray, "c c c"]:
    """Smallest magnitude among the corners of each cell, 0 where they differ in sign."""
    low, high = values, values
    for axis in range(3):
        front, back = [slice(None)] * 3, [slice(None)] * 3
        front[axis], back[axis] = slice(1, None), slice(None, -1)
        low = np.minimum(low[tuple(front)], low[tuple(back)])
        high = np.maximum(high[tuple(front)], high[tuple(back)])
    return np.maximum(np.maximum(low, -high), 0)


def _corners_of(cells: Bool[np.ndarray, "c c c"]) -> Bool[np.ndarray, "p p p"]:
    """Lattice points that an active cell touches."""
    size = len(cells)
    wanted = np.zeros((size + 1,) * 3, bool)
    for i, j, k in np.ndindex(2, 2, 2):
        wanted[i : size + i, j : size + j, k : size + k] |= cells
    return wanted


def _doubled(values: Float[np.ndarray, "p p p"]) -> Float[np.ndarray, "q q q"]:
    """Linear interpolation onto a lattice of half the spacing."""
    for axis in range(3):
        size = values.shape[axis]
        shape = list(values.shape)
        shape[axis] = 2 * size - 1
        made = np.empty(shape, values.dtype)
        whole, between, front, back = ([slice(None)] * 3 for _ in range(4))
        whole[axis], between[axis] = slice(0, None, 2), slice(1, None, 2)
        front[axis], back[axis] = slice(1, None), slice(None, -1)
        made[tuple(whole)] = values
        made[tuple(between)] = 0.5 * (values[tuple(front)] + values[tuple(back)])
        values = made
    return values
