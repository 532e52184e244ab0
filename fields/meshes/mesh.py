"""Triangle meshes with colors: what is loaded, rendered, converted and written."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, UInt8

Vertices = Float[np.ndarray, "V 3"]
Faces = Int[np.ndarray, "F 3"]


@dataclass(frozen=True, eq=False)
class Mesh:
    """V vertices and F triangles in the units and axes of their file."""

    vertices: Vertices
    """Positions, float64, so that georeferenced coordinates keep their millimeters."""
    faces: Faces
    """Vertex indices, int64, counter-clockwise seen from outside."""
    colors: Float[np.ndarray, "V 3"] | None = None
    """sRGB in [0, 1] of each vertex, float32."""
    uvs: Float[np.ndarray, "F 3 2"] | None = None
    """Where each corner lies in `texture`: u to the right, v up, 1 the far border; may repeat."""
    texture: UInt8[np.ndarray, "H W 3"] | None = None
    """sRGB; first row on top. Wins over `colors`."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.vertices).all():
            row = int(np.flatnonzero(~np.isfinite(self.vertices).all(1))[0])
            raise ValueError(f"`vertices` must be finite, got {self.vertices[row]} in row {row}.")
        if len(self.faces) and not 0 <= self.faces.min() <= self.faces.max() < len(self.vertices):
            raise ValueError(
                f"`faces` must index the {len(self.vertices)} vertices, got "
                f"{self.faces.min()} to {self.faces.max()}."
            )
        if (self.uvs is None) != (self.texture is None):
            raise ValueError("`uvs` and `texture` come together; give both or neither.")

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays."""
        arrays = (self.vertices, self.faces, self.colors, self.uvs, self.texture)
        return sum(array.nbytes for array in arrays if array is not None)

    def corners(self) -> Float[np.ndarray, "F 3 3"]:
        """Positions of the three corners of every face."""
        return self.vertices[self.faces]

    def area_vectors(self) -> Float[np.ndarray, "F 3"]:
        """Face normals as long as the faces are large."""
        first, second, third = np.moveaxis(self.corners(), 1, 0)
        return np.cross(second - first, third - first) / 2

    def vertex_normals(self) -> Vertices:
        """Unit means of the adjacent faces' normals, weighted by area; zero where undefined."""
        areas = np.repeat(self.area_vectors(), 3, axis=0)
        return unit_rows(sum_rows(areas, self.faces.reshape(-1), len(self.vertices)))

    def moved(self, matrix: Float[np.ndarray, "4 4"]) -> Mesh:
        """The mesh under an affine map; faces are turned over where it is a reflection."""
        faces = self.faces if np.linalg.det(matrix[:3, :3]) > 0 else self.faces[:, ::-1].copy()
        uvs = self.uvs
        if uvs is not None and faces is not self.faces:
            uvs = uvs[:, ::-1].copy()
        vertices = self.vertices @ matrix[:3, :3].T + matrix[:3, 3]
        return replace(self, vertices=vertices, faces=faces, uvs=uvs)

    def keep_faces(self, keep: np.ndarray) -> Mesh:
        """Only the faces in `keep` (flags or indices) and the vertices that they use."""
        faces = self.faces[keep]
        used, inverse = np.unique(faces, return_inverse=True)
        return replace(
            self,
            vertices=self.vertices[used],
            faces=inverse.reshape(-1, 3),
            colors=None if self.colors is None else self.colors[used],
            uvs=None if self.uvs is None else self.uvs[keep],
        )

    def face_colors_at(
        self, faces: Int[np.ndarray, "N"], weights: Float[np.ndarray, "N 3"]
    ) -> Float[np.ndarray, "N 3"]:
        """sRGB colors at barycentric coordinates of faces; 0.5 where the mesh has none."""
        if self.texture is not None and self.uvs is not None:
            places = np.einsum("nc,ncd->nd", weights, self.uvs[faces])
            return sample_texture(self.texture, places)
        if self.colors is not None:
            corners = self.colors[self.faces[faces]]
            return np.einsum("nc,ncd->nd", weights.astype(np.float32), corners)
        return np.full((len(faces), 3), 0.5, np.float32)


def unit_rows(vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Rows scaled to length 1; those of length zero stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def sum_rows(
    rows: Float[np.ndarray, "N D"], targets: Int[np.ndarray, "N"], count: int
) -> Float[np.ndarray, "M D"]:
    """Sums of the rows that go to each of `count` targets."""
    columns = [np.bincount(targets, column, count) for column in rows.T]
    return np.stack(columns, 1)


def sample_texture(
    texture: UInt8[np.ndarray, "H W 3"], places: Float[np.ndarray, "N 2"]
) -> Float[np.ndarray, "N 3"]:
    """Bilinear values in [0, 1]; coordinates outside of [0, 1] repeat the texture."""
    height, width = texture.shape[:2]
    x = (places[:, 0] - np.floor(places[:, 0])) * width - 0.5
    y = (1 - (places[:, 1] - np.floor(places[:, 1]))) * height - 0.5
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    across, down = (x - left).astype(np.float32)[:, None], (y - top).astype(np.float32)[:, None]
    columns, rows = (left % width, (left + 1) % width), (top % height, (top + 1) % height)
    upper = texture[rows[0], columns[0]] * (1 - across) + texture[rows[0], columns[1]] * across
    lower = texture[rows[1], columns[0]] * (1 - across) + texture[rows[1], columns[1]] * across
    return ((upper * (1 - down) + lower * down) / 255).astype(np.float32)
