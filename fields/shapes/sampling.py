"""Points that say what a shape is: on the surface, on its sharp edges, near it and around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .mesh import TriangleMesh
from .topology import Topology, sharp_edges

SIGMAS = (0.005, 0.05)
"""Standard deviations of the near points about the surface, box units."""
SHARP_ANGLE_DEG = 30.0
"""Dihedral angle from which an edge is sharp."""


@dataclass(frozen=True)
class Counts:
    """How many points of each kind a shape gets."""

    surface: int = 32_768
    """Uniform by area, with normals."""
    sharp: int = 8_192
    """On sharp edges, by length; a shape without any gets none."""
    near: int = 32_768
    """About the surface, for each of the two sigmas."""
    volume: int = 65_536
    """Uniform in the box [-1, 1]^3."""


def surface_points(
    mesh: TriangleMesh, count: int, *, seed: int
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Int[np.ndarray, "n"]]:
    """Points uniform by area, their unit face normals, and their faces.

    Places along the area are stratified: equal shares of the surface hold equal numbers.
    """
    rng = np.random.default_rng(seed)
    vectors = mesh.area_vectors
    areas = np.linalg.norm(vectors, axis=1)
    reached = np.cumsum(areas)
    places = (np.arange(count) + rng.random(count)) / count * reached[-1]
    faces = np.minimum(np.searchsorted(reached, places, side="right"), len(areas) - 1)
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = mesh.corners[faces].transpose(1, 0, 2)
    normals = vectors[faces] / np.maximum(areas[faces, None], 1e-300)
    return a + u * (b - a) + v * (c - a), normals, faces


def sharp_points(
    mesh: TriangleMesh, topology: Topology, count: int, *, seed: int
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points on edges with a dihedral angle above 30 degrees, and the mean normals there.

    Follows the sampling of Dora (Chen et al., CVPR 2025, section 3.2). Empty without such edges.
    """
    edges, normals = sharp_edges(mesh, topology, angle_deg=SHARP_ANGLE_DEG)
    start, end = mesh.vertices[edges[:, 0]], mesh.vertices[edges[:, 1]]
    lengths = np.linalg.norm(end - start, axis=1)
    if count == 0 or not lengths.sum() > 0:
        return np.zeros((0, 3)), np.zeros((0, 3))
    rng = np.random.default_rng(seed)
    reached = np.cumsum(lengths)
    places = (np.arange(count) + rng.random(count)) / count * reached[-1]
    chosen = np.minimum(np.searchsorted(reached, places, side="right"), len(lengths) - 1)
    along = rng.random((count, 1))
    return start[chosen] + along * (end[chosen] - start[chosen]), normals[chosen]


def near_points(
    surface: Float[np.ndarray, "n 3"], count: int, *, seed: int
) -> tuple[Float[np.ndarray, "m 3"], Int[np.ndarray, "m"]]:
    """`count` points about the surface for each of `SIGMAS`, and the number of the sigma."""
    rng = np.random.default_rng(seed)
    parts = [
        surface[rng.permutation(np.resize(np.arange(len(surface)), count))]
        + sigma * rng.standard_normal((count, 3))
        for sigma in SIGMAS
    ]
    return np.concatenate(parts), np.repeat(np.arange(len(SIGMAS)), count)


def volume_points(count: int, *, seed: int) -> Float[np.ndarray, "n 3"]:
    """Points uniform in the box."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3))
