"""Triangles from any file that trimesh reads, cleaned without moving a vertex."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

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
        import trimesh
    except ImportError as error:
        raise ImportError(
            "reading meshes needs trimesh; install it with `pip install fieldwright[shapes]`."
        ) from error
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a mesh file.")
    try:
        loaded: Any = trimesh.load(path, process=False, skip_materials=True)
        if isinstance(loaded, trimesh.Scene):
            loaded = loaded.to_geometry() if len(loaded.geometry) else None
        faces = getattr(loaded, "faces", None)
    except Exception as error:  # trimesh raises whatever its parsers meet
        if path.suffix.lower() == ".ply" and (strips := _tristrips(path)) is not None:
            return strips
        raise MeshError(
            f"{path} is not readable as a mesh: {error or type(error).__name__}."
        ) from error
    if faces is None or len(faces) == 0:
        if path.suffix.lower() == ".ply" and (strips := _tristrips(path)) is not None:
            return strips
        found = "points only" if len(getattr(loaded, "vertices", ())) else "nothing"
        raise MeshError(f"{path} has no faces ({found}); a shape needs a surface.")
    return TriangleMesh(
        np.asarray(loaded.vertices, np.float64), np.asarray(faces, np.int64).reshape(-1, 3)
    )


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
    finite = np.isfinite(mesh.vertices).all(1)
    usable = finite[mesh.faces].all(1)
    positions = np.where(finite[:, None], mesh.vertices, 0.0) + 0.0  # -0 becomes 0
    unique, first, inverse = np.unique(positions, axis=0, return_index=True, return_inverse=True)
    faces = inverse.reshape(-1)[mesh.faces[usable]]
    distinct = (faces != np.roll(faces, 1, axis=1)).all(1)
    faces = faces[distinct]
    _, kept = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    result = _without_unused(TriangleMesh(unique, faces[np.sort(kept)]))
    size = float(np.ptp(result.vertices, axis=0).max()) if len(kept) else 0.0
    flat = result.areas <= (1e-9 * size) ** 2
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
    """Write .glb, .obj, .ply, .stl or .off under a temporary name and move it into place.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        ValueError: The suffix is of no format that can be written.
    """
    import trimesh

    from runs.files import replacing

    kinds = ("glb", "obj", "ply", "stl", "off")
    kind = path.suffix.lower().lstrip(".")
    if kind not in kinds:
        raise ValueError(f"`path` must end in one of {', '.join(kinds)}, got {path.name!r}.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or pass --overwrite.")
    made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    data = made.export(file_type=kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)
    return path


def _without_unused(mesh: TriangleMesh) -> TriangleMesh:
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return TriangleMesh(mesh.vertices[used], faces.reshape(-1, 3))


_PLY_TYPES = {
    "char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f",
    "double": "d", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i",
    "uint32": "I", "float32": "f", "float64": "d",
}  # fmt: skip


def _tristrips(path: Path) -> TriangleMesh | None:
    """Faces of a binary PLY that holds triangle strips, None for another file.

    The layout is that of the Stanford and Cyberware scans: fixed vertices, then one list of vertex
    numbers in which -1 ends a strip.
    """
    data = path.read_bytes()
    end = data.find(b"end_header\n")
    if not data.startswith(b"ply") or end < 0 or b"element tristrips" not in data[:end]:
        return None
    order, count, properties, element = "<", 0, [], ""
    for line in data[:end].decode("ascii", "replace").splitlines():
        words = line.split()
        if words[:1] == ["format"]:
            order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(words[1], "")
        elif words[:1] == ["element"]:
            element = words[1]
            count = int(words[2]) if element == "vertex" else count
        elif words[:1] == ["property"] and element == "vertex":
            properties.append((words[2], order + _PLY_TYPES[words[1]]))
    if not order:
        raise MeshError(f"{path} holds triangle strips as text; only binary ones are read.")
    start = end + len(b"end_header\n")
    table = np.frombuffer(data, np.dtype(properties), count, start)
    start += table.nbytes
    try:
        [length] = struct.unpack_from(order + "i", data, start)
        strip = np.frombuffer(data, order + "i4", length, start + 4).astype(np.int64)
    except (struct.error, ValueError) as error:
        raise MeshError(f"{path} ends inside its triangle strips (byte {start}).") from error
    vertices = np.stack([table[axis] for axis in "xyz"], axis=1).astype(np.float64)
    return TriangleMesh(vertices, _faces_of_strips(strip))


def _faces_of_strips(strip: Int[np.ndarray, "n"]) -> Int[np.ndarray, "f 3"]:
    """Triangles of strips that -1 ends; every second one is turned."""
    begins = np.concatenate([[0], np.flatnonzero(strip < 0) + 1])
    position = np.arange(len(strip)) - np.repeat(begins, np.diff([*begins, len(strip)]))
    windows = np.lib.stride_tricks.sliding_window_view(strip, 3)
    inside = (windows >= 0).all(1)
    odd = position[: len(windows)] % 2 == 1
    faces = np.where(odd[:, None], windows[:, [1, 0, 2]], windows)
    return faces[inside]
