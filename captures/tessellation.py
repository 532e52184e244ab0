"""Triangles that lie on the solids of a scene, and the PLY file that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from .lighting import Item


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh with vertex colors."""

    vertices: Float[np.ndarray, "V 3"]
    """Positions in scene units, float32."""
    faces: Int[np.ndarray, "F 3"]
    """Vertex indices, counter-clockwise seen from where the surface is visible."""
    colors: UInt8[np.ndarray, "V 3"]
    """sRGB albedo."""


def tessellate(items: Sequence[Item], *, cells: int = 64) -> Mesh:
    """All surfaces, each chart face cut into `cells` x `cells` quads with corners on the solids."""
    parts, offset = [], 0
    for item in items:
        part = _tessellate_item(item, cells)
        parts.append((part.vertices, part.faces + offset, part.colors))
        offset += len(part.vertices)
    vertices, faces, colors = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Mesh(vertices, faces, colors)


def _tessellate_item(item: Item, cells: int) -> Mesh:
    solid = item.solid
    num_charts = len(solid.face_sizes)
    charts, rows, columns = np.indices((num_charts, cells + 1, cells + 1)).reshape(3, -1)
    u, v = (columns / cells).astype(np.float32), (rows / cells).astype(np.float32)
    points = solid.chart(charts, u, v)
    albedo = item.pattern(charts, u, v, solid.to_local(points))
    colors = np.rint(255 * np.clip(albedo, 0, 1) ** (1 / 2.2)).astype(np.uint8).T

    corner = np.arange(num_charts * (cells + 1) ** 2).reshape(-1, cells + 1, cells + 1)
    a, b = corner[:, :-1, :-1].ravel(), corner[:, :-1, 1:].ravel()
    c, d = corner[:, 1:, 1:].ravel(), corner[:, 1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Mesh(points.T, _facing(points.T, faces, solid.normal(points).T), colors)


def _facing(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    normals: Float[np.ndarray, "V 3"],
) -> Int[np.ndarray, "G 3"]:
    """The faces wound to agree with the surface normals; those without area are dropped."""
    first, second, third = (vertices[faces[:, k]] for k in range(3))
    areas = np.cross(second - first, third - first)
    faces, areas = (part[np.linalg.norm(areas, axis=1) > 1e-10] for part in (faces, areas))
    inward = (areas * normals[faces].sum(1)).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return faces


def write_mesh(path: Path, mesh: Mesh) -> None:
    """Writes a binary little-endian PLY."""
    vertices = np.empty(len(mesh.vertices), [("position", "<f4", 3), ("color", "u1", 3)])
    vertices["position"], vertices["color"] = mesh.vertices, mesh.colors
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("indices", "<i4", 3)])
    faces["count"], faces["indices"] = 3, mesh.faces
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(vertices)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {channel}" for channel in ("red", "green", "blue")),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    with path.open("wb") as file:
        file.write(("\n".join(header) + "\n").encode("ascii"))
        file.write(vertices.tobytes())
        file.write(faces.tobytes())
