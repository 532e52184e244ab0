"""Point clouds and splats from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .clouds import Cloud, as_cloud, unit_colors
from .splat_clouds import cloud_of_gaussians

_TEXT = (".xyz", ".txt", ".csv", ".pts")
_LAS = (".las", ".laz")
_MESHES = (".obj", ".off", ".stl", ".glb", ".gltf")


def read_cloud(path: Path) -> Cloud:
    """The points of a PLY, PCD, XYZ-like text, NPY/NPZ, LAS/LAZ, mesh or splat file.

    PLY files with the properties of splats, and all other endings, are read as splats by
    `splats.formats`. LAS needs laspy, meshes need trimesh.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: Malformed content; the message names the file.
        ImportError: The package that reads this kind is not installed.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a point cloud or a splat file.")
    ending = path.suffix.lower()
    if ending == ".ply":
        return _read_ply(path)
    if ending == ".pcd":
        from .pcd import read_pcd

        return read_pcd(path)
    if ending in _TEXT:
        return _read_text(path)
    if ending in (".npy", ".npz"):
        return _read_numpy(path)
    if ending in _LAS:
        return _read_las(path)
    if ending in _MESHES:
        return _read_mesh(path)
    from splats.scene import load_scene

    return cloud_of_gaussians(load_scene(path).gaussians)


def _read_ply(path: Path) -> Cloud:
    from splats.formats.ply_header import read_header
    from splats.formats.points import is_point_cloud

    header = read_header(path)
    vertex, face = header.element("vertex"), header.element("face")
    if not is_point_cloud(header):
        from splats.scene import load_scene

        return cloud_of_gaussians(load_scene(path).gaussians)
    if (face is not None and face.count) or header.element("tristrips") is not None:
        return _read_mesh(path)
    from captures.point_ply import read_point_ply

    found = read_point_ply(path)
    colored = vertex is not None and {"red", "green", "blue"} <= set(vertex.names)
    return Cloud(found.positions.double().numpy(), found.colors.numpy() if colored else None)


def _read_text(path: Path) -> Cloud:
    """Rows of x y z, then r g b if there are six columns; separators are spaces, tabs or commas."""
    try:
        text = path.read_text(encoding="utf-8").replace(",", " ")
        rows = [line.split() for line in text.splitlines() if line.strip()]
        rows = [row for row in rows if not row[0].startswith(("#", "//"))]
        if rows and len(rows[0]) == 1:  # the number of points, as PTS files begin
            rows = rows[1:]
        if rows and not _is_number(rows[0][0]):  # names of the columns
            rows = rows[1:]
        table = np.array([[float(word) for word in row] for row in rows])
    except ValueError as error:
        raise ValueError(f"{path}: expected one point per line as x y z, {error}.") from None
    if table.ndim != 2 or table.shape[1] < 3:
        raise ValueError(f"{path}: expected one point per line as x y z, got {table.shape}.")
    colors = None
    if table.shape[1] >= 6:
        # x y z r g b; PTS files have an intensity before the colors.
        colors = unit_colors(table[:, 4:7] if table.shape[1] == 7 else table[:, 3:6])
    return Cloud(table[:, :3], colors)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _read_numpy(path: Path) -> Cloud:
    try:
        content: Any = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is no NumPy file of numbers: {error}.") from None
    if not isinstance(content, np.ndarray):
        names = [name for name in content.files if content[name].ndim == 2]
        names = [name for name in names if content[name].shape[1] in (3, 6)]
        if not names:
            raise ValueError(f"{path} holds no array [N, 3] or [N, 6], only {content.files}.")
        content = content[next((n for n in names if n in ("points", "xyz")), names[0])]
    return as_cloud(content, name=str(path))


def _read_las(path: Path) -> Cloud:
    try:
        import laspy
    except ImportError:
        raise ImportError(
            "LAS and LAZ files need laspy; install it with pip install laspy[lazrs]."
        ) from None
    content: Any = laspy.read(path)
    colors = None
    if {"red", "green", "blue"} <= set(content.point_format.dimension_names):
        colors = np.stack([content.red, content.green, content.blue], axis=1)
        colors = unit_colors(np.asarray(colors, np.uint16 if colors.max() > 255 else np.uint8))
    return Cloud(np.asarray(content.xyz, np.float64), colors)


def _read_mesh(path: Path) -> Cloud:
    try:
        import trimesh
    except ImportError:
        raise ImportError(
            'Meshes need trimesh; install it with pip install "fieldwright[view]".'
        ) from None
    try:
        loaded: Any = trimesh.load(str(path), process=False)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{path}: trimesh cannot read it: {error}.") from None
    return as_cloud(loaded, name=str(path))
