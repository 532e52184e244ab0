"""A solid as a mesh and as training samples, with an exact sign."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from ..bvh import MeshIndex
from ..lattice import surface_of_lattice
from ..mesh import TriangleMesh
from ..normalization import Normalization
from ..samples import ShapeSamples, octree_of
from ..sampling import (
    SHARP_ANGLE_DEG,
    Counts,
    near_points,
    sharp_points,
    surface_points,
    volume_points,
)
from ..topology import Topology
from .generator import procedural_shape
from .primitives import Sdf

RESOLUTION = 80
"""Cells per side of the lattice that is tessellated."""
_REACH = 1.6
_STEP = 1e-4
_SHARP_REACH = 0.01


def tessellated(f: Sdf, *, resolution: int = RESOLUTION) -> TriangleMesh:
    """A closed mesh of the zero set, its vertices moved onto it.

    The lattice spans the solid's bounding box, found on a coarse lattice first.

    Raises:
        ValueError: The solid is empty or leaves [-1.6, 1.6]^3.
    """
    coarse = np.linspace(-_REACH, _REACH, 33)
    inside = _on_lattice(f, [coarse] * 3) < 0.05  # one cell of slack
    if not inside.any():
        raise ValueError("`f` is negative nowhere in [-1.6, 1.6]^3; the solid is empty.")
    cells = np.argwhere(inside)
    low = coarse[np.maximum(cells.min(0) - 1, 0)]
    high = coarse[np.minimum(cells.max(0) + 1, 32)]
    step = float((high - low).max()) / resolution
    axes = [np.arange(low[k], high[k] + step, step) for k in range(3)]
    values = _on_lattice(f, axes)
    if not values.min() < 0 < values.max():
        raise ValueError("`f` has no zero on the lattice; the solid is thinner than a cell.")
    values = np.pad(values, 1, constant_values=float(values.max()))
    mesh = surface_of_lattice(values, low - step, step)
    points = mesh.vertices
    for _ in range(3):
        gradient, value = gradients(f, points)
        squared = (gradient**2).sum(1)
        move = np.clip(-value / np.maximum(squared, 1e-6), -step / 2, step / 2)
        points = points + move[:, None] * gradient
    return mesh.placed(points)


def gradients(
    f: Sdf, points: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Central differences and values of a solid's function."""
    value = f(points)
    columns = [
        (f(points + offset) - f(points - offset)) / (2 * _STEP) for offset in _STEP * np.eye(3)
    ]
    return np.stack(columns, axis=1), value


def procedural_samples(
    seed: int,
    *,
    kind: str | None = None,
    counts: Counts | None = None,
    resolution: int = RESOLUTION,
) -> ShapeSamples:
    """Samples of the shape of a seed: distances to the tessellation, signs of the solid itself."""
    counts = counts or Counts()
    name, f = procedural_shape(seed, kind)
    mesh = tessellated(f, resolution=resolution)
    normalization = Normalization.of(mesh.vertices)
    boxed = mesh.placed(normalization.to_box(mesh.vertices))
    topology = Topology.of(boxed)
    surface, normals, _ = surface_points(boxed, counts.surface, seed=seed)
    sharp, sharp_normals = sharp_points(boxed, topology, counts.sharp, seed=seed + 1)
    kept = _is_sharp(f, normalization.to_source(sharp))
    sharp, sharp_normals = sharp[kept], sharp_normals[kept]
    near, sigma = near_points(surface, counts.near, seed=seed + 2)
    volume = volume_points(counts.volume, seed=seed + 3)
    index = MeshIndex(boxed)

    def distance(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        sign = np.where(f(normalization.to_source(points)) < 0, -1, 1)
        return (sign * index.closest(points).distances).astype(np.float32)

    keys, features = octree_of(
        np.concatenate([surface, sharp]), np.concatenate([normals, sharp_normals])
    )
    return ShapeSamples(
        surface=surface,
        surface_normals=normals,
        sharp=sharp,
        sharp_normals=sharp_normals,
        near=near,
        near_sdf=distance(near),
        near_sigma=sigma,
        volume=volume,
        volume_sdf=distance(volume),
        octree_keys=keys,
        octree_features=features,
        normalization=normalization,
        facts={"name": f"{name}-{seed}", "mode": "procedural", "eps": 0.0, "seed": seed},
    )


def _is_sharp(f: Sdf, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
    """Whether the solid's own normals turn by more than `SHARP_ANGLE_DEG` around each point.

    A tessellation has slivers whose dihedral angles say nothing.
    """
    if len(points) == 0:
        return np.zeros(0, bool)
    around = []
    for offset in _SHARP_REACH * np.concatenate([np.eye(3), -np.eye(3)]):
        gradient, _ = gradients(f, points + offset)
        length = np.linalg.norm(gradient, axis=1, keepdims=True)
        around.append(gradient / np.maximum(length, 1e-9))
    normals = np.stack(around)
    cosines = np.einsum("ikc,jkc->ijk", normals, normals).min((0, 1))
    return cosines < np.cos(np.radians(SHARP_ANGLE_DEG))


def _on_lattice(f: Sdf, axes: list[np.ndarray]) -> Float[np.ndarray, "i j k"]:
    """Values plane by plane, which keeps intermediate arrays in the cache."""
    y, z = np.meshgrid(axes[1], axes[2], indexing="ij")
    planes = [
        f(np.stack([np.full(y.size, x), y.ravel(), z.ravel()], axis=1)).reshape(y.shape)
        for x in axes[0]
    ]
    return np.stack(planes)
