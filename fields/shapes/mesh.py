"""Triangles from any file that trimesh reads, cleaned without moving a vertex."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from ..meshes import Mesh, files

SUFFIXES = (".obj", ".ply", ".stl", ".off", ".glb", ".gltf", ".3mf", ".dae")
"""Files that a folder of meshes is searched for; a single file may have any suffix."""


class MeshError(ValueError):
    """A file that holds no usable surface; the message names the file and what to do."""


@dataclass(frozen=True)
class TriangleMesh:
    """A triangle soup with shared vertices, in the frame of its file."""

    vertices: Float[np.ndarray, "v 3"]
    """Positions, float64."""
    faces: Int[np.ndarray, "f 3"]
    """Vertex numbers, counter-clockwise seen from outside where the mesh is oriented."""

    def __post_init__(self) -> None:
        if len(self.faces) and not 0 <= self.faces.min() <= self.faces.max() < len(self.vertices):
            raise ValueError(
                f"`faces` must lie in [0, {len(self.vertices)}), "
                f"got {self.faces.min()} to {self.faces.max()}."
            )

    @property
    def corners(self) -> Float[np.ndarray, "f 3 3"]:
        """Positions of each face's corners."""
        return self.vertices[self.faces]

    @property
    def area_vectors(self) -> Float[np.ndarray, "f 3"]:
        """Normals whose length is the face's area."""
        a, b, c = self.corners.transpose(1, 0, 2)
        return 0.5 * np.cross(b - a, c - a)

    @property
    def areas(self) -> Float[np.ndarray, "f"]:
        """Areas of the faces."""
        return np.linalg.norm(self.area_vectors, axis=1)

    def placed(self, vertices: Float[np.ndarray, "v 3"]) -> TriangleMesh:
        """The same faces over other positions."""
        return replace(self, vertices=vertices)


@dataclass(frozen=True)
class Cleaning:
    """What `cleaned` met."""

    merged_vertices: int
    """Vertices at the position of another one."""
    degenerate_faces: int
    """Faces with a repeated vertex."""
    flat_faces: int
    """Faces without area; they are kept, for they close the mesh where edges meet in a T."""
    duplicate_faces: int
    """Faces over the vertices of another one, in either direction."""
    nonfinite_faces: int
    """Faces with a NaN or infinite corner."""


def load_mesh(path: Path) -> TriangleMesh:
    """All triangles in a file, those of a scene in the scene's frame.

    Raises:
        FileNotFoundError: No such file.
        MeshError: Unreadable, or without any face.
        ImportError: trimesh is not installed.
    """
    try:
        found = files.load_mesh(path)
    except ValueError as error:
        raise MeshError(str(error)) from error
    return TriangleMesh(found.vertices, found.faces.astype(np.int64))


def find_meshes(path: Path) -> list[Path]:
    """`path` itself, or every mesh file below a folder, sorted.

    Raises:
        FileNotFoundError: Nothing there.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; expected a mesh or a folder of meshes.")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise FileNotFoundError(f"{path} holds no mesh ({', '.join(SUFFIXES)}).")
    return found


def cleaned(mesh: TriangleMesh) -> tuple[TriangleMesh, Cleaning]:
    """The mesh with equal vertices merged and faces without meaning dropped.

    A mesh without any area comes back empty.
    """
    finite = np.all(np.isfinite(mesh.vertices), axis=1)
    usable = finite[mesh.faces].all(1)
    positions = np.where(finite[:, None], mesh.vertices, 0.0) + 0.0  # -0 becomes 0
    unique, first, inverse = np.unique(positions, axis=0, return_index=True, return_inverse=True)
    faces = inverse.reshape(-1)[mesh.faces[usable]]
    distinct = (faces != np.roll(faces, 1, axis=1)).all(1)
    faces = faces[distinct]
    _, kept = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    result = _without_unused(TriangleMesh(unique, faces[np.sort(kept)]))
    # Areas of a copy of size 1: those of huge coordinates overflow.
    size = float(np.abs(result.vertices).max(initial=0)) or 1.0
    scaled = result.placed(result.vertices / size)
    extent = float(np.ptp(scaled.vertices, axis=0).max()) if len(kept) else 0.0
    flat = scaled.areas <= (1e-9 * extent) ** 2
    if flat.all():
        result = TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    return result, Cleaning(
        merged_vertices=len(mesh.vertices) - len(first),
        degenerate_faces=int(usable.sum() - distinct.sum()),
        flat_faces=int(flat.sum()),
        duplicate_faces=int(distinct.sum() - len(kept)),
        nonfinite_faces=int((~usable).sum()),
    )


def write_mesh(mesh: TriangleMesh, path: Path, *, overwrite: bool = False) -> Path:
    """Write .glb, .obj, .ply, .stl or .off, whole or not at all.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        ValueError: The suffix is of no format that can be written.
    """
    files.save_mesh(Mesh(mesh.vertices, mesh.faces), path, overwrite=overwrite)
    return path


def _without_unused(mesh: TriangleMesh) -> TriangleMesh:
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return TriangleMesh(mesh.vertices[used], faces.reshape(-1, 3))
