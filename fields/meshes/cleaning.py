"""Fewer and better triangles: without stray pieces, or with a given number of faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from .mesh import Mesh


def face_components(mesh: Mesh) -> Int[np.ndarray, "F"]:
    """Number of the connected piece of each face; faces that share a vertex are connected."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = mesh.faces[:, [0, 1]].reshape(-1), mesh.faces[:, [1, 2]].reshape(-1)
    count = len(mesh.vertices)
    links = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    return labels[mesh.faces[:, 0]].astype(np.int64)


def without_small_pieces(mesh: Mesh, *, share: float) -> Mesh:
    """The mesh without pieces whose area is below `share` of the largest one's."""
    if not len(mesh.faces):
        return mesh
    pieces = face_components(mesh)
    areas = np.bincount(pieces, np.linalg.norm(mesh.area_vectors(), axis=1))
    return mesh.keep_faces(areas[pieces] >= share * areas.max())


def decimated(mesh: Mesh, num_faces: int) -> Mesh:
    """At most about `num_faces` faces, by quadric edge collapse; colors of the nearest vertices.

    Args:
        mesh: Without texture, whose seams a collapse would tear; bake it afterwards.
        num_faces: At least 4.

    Raises:
        ValueError: A textured mesh, or too few faces.
        ImportError: fast-simplification is not installed.

    Reference: Garland and Heckbert, "Surface simplification using quadric error metrics", 1997.
    """
    if mesh.texture is not None:
        raise ValueError("`mesh` has a texture; decimate first and bake the texture afterwards.")
    if num_faces < 4:
        raise ValueError(f"`num_faces` must be at least 4, got {num_faces}.")
    if len(mesh.faces) <= num_faces:
        return mesh
    try:
        from fast_simplification import simplify
    except ImportError:
        raise ImportError(
            'Decimation needs fast-simplification; install it with pip install "fieldwright[mesh]".'
        ) from None
    from scipy.spatial import KDTree

    # The library computes in float32: far from the origin that would tear the surface.
    center = mesh.vertices.mean(0)
    local = (mesh.vertices - center).astype(np.float32)
    points, faces = simplify(local, mesh.faces.astype(np.int32), target_count=num_faces)[:2]
    vertices, colors = points.astype(np.float64) + center, None
    if mesh.colors is not None:
        colors = mesh.colors[KDTree(mesh.vertices).query(vertices)[1]]
    reduced = replace(mesh, vertices=vertices, faces=faces.astype(np.int64), colors=colors)
    return reduced.keep_faces(np.arange(len(faces)))
