"""Small meshes with known answers, and broken copies of them."""

from __future__ import annotations

import numpy as np

from fields.shapes.mesh import TriangleMesh


def box_mesh(
    half: float = 1.0, center: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> TriangleMesh:
    """A closed cube of 12 outward triangles."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    return TriangleMesh(half * corners + center, np.array(faces))


def sphere_mesh(radius: float = 1.0, rings: int = 24) -> TriangleMesh:
    """A closed sphere of triangles between circles of latitude."""
    theta = np.linspace(0, np.pi, rings + 1)[1:-1]
    phi = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    middle = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], axis=-1)
    vertices = np.concatenate([middle.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]])
    n, north, south = 2 * rings, len(vertices) - 2, len(vertices) - 1
    i, j = np.meshgrid(np.arange(rings - 2), np.arange(n), indexing="ij")
    a, b = i * n + j, i * n + (j + 1) % n
    faces = [
        np.stack([a, a + n, b + n], -1).reshape(-1, 3),
        np.stack([a, b + n, b], -1).reshape(-1, 3),
    ]
    k = np.arange(n)
    faces.append(np.stack([np.full(n, north), k, (k + 1) % n], -1))
    last = (rings - 2) * n
    faces.append(np.stack([np.full(n, south), last + (k + 1) % n, last + k], -1))
    return TriangleMesh(radius * vertices, np.concatenate(faces))


def joined(*meshes: TriangleMesh) -> TriangleMesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return TriangleMesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]),
    )


def reversed_mesh(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh inside out."""
    return TriangleMesh(mesh.vertices, mesh.faces[:, ::-1])


def box_distance(points: np.ndarray, half: float) -> np.ndarray:
    """Exact signed distance to a cube."""
    q = np.abs(points) - half
    return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0)
