"""Marching cubes on a dense lattice, through the sparse bricks of `fields.meshes`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from ..meshes.bricks import SIDE, Bricks
from ..meshes.marching import extract_surface
from .mesh import TriangleMesh


def surface_of_lattice(
    values: Float[np.ndarray, "i j k"], origin: Float[np.ndarray, "3"], spacing: float
) -> TriangleMesh:
    """The zero set of values on a lattice: triangles, outward where values are negative inside.

    Only bricks of 8^3 points that the surface enters are looked at.

    Args:
        values: At origin + spacing (i, j, k).
        origin: Position of the first value.
        spacing: Distance of neighbors.
    """
    sizes = [-(-size // SIDE) * SIDE for size in values.shape]
    padding = [(0, size - have) for size, have in zip(sizes, values.shape, strict=True)]
    padded = np.pad(values.astype(np.float32), padding, constant_values=np.nan)
    counts = [size // SIDE for size in sizes]
    blocks = padded.reshape(counts[0], SIDE, counts[1], SIDE, counts[2], SIDE)
    blocks = blocks.transpose(0, 2, 4, 1, 3, 5)
    flat = blocks.reshape(*counts, -1)
    low, high = np.nanmin(flat, axis=3), np.nanmax(flat, axis=3)
    # A cell reaches into the next brick, so neighbors count: the surface passes between them.
    low = ndimage.minimum_filter(low, 3, mode="nearest")
    high = ndimage.maximum_filter(high, 3, mode="nearest")
    entered = np.argwhere((low < 0) & (high >= 0))  # in the order of brick keys
    rows = tuple(entered.T)
    bricks = Bricks(origin.astype(np.float64), spacing, entered, np.ascontiguousarray(blocks[rows]))
    mesh = extract_surface(bricks)
    return TriangleMesh(mesh.vertices, mesh.faces.astype(np.int64))
