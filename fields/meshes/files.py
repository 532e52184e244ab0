"""Mesh files in and out: ply, obj, glb, gltf, stl, off, through trimesh."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .mesh import Mesh, sum_rows
from .strips import read_strips

WRITABLE = (".ply", ".obj", ".glb", ".stl", ".off")
"""Endings that `save_mesh` knows."""

_SWATCH = 4  # pixels

_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError)


def load_mesh(path: str | Path) -> Mesh:
    """The triangles in a file, in its own units and axes.

    Quads are cut in two; scenes of several meshes are joined, their placements applied and their
    textures packed into one. Vertex colors and base-color textures are kept, materials otherwise
    reduced to their color.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: trimesh is not installed.
        ValueError: The file cannot be read, or holds no triangles.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; expected a mesh such as scene.obj.")
    trimesh = import_trimesh()
    try:
        strips = read_strips(path) if path.suffix.lower() == ".ply" else None
        if strips is not None:
            return strips
        loaded: Any = trimesh.load(str(path), process=False)
        if isinstance(loaded, trimesh.Scene):
            loaded = loaded.to_geometry() if loaded.geometry else None
        if not isinstance(loaded, trimesh.Trimesh) or not len(loaded.faces):
            raise ValueError("it holds no triangles; a point cloud is no mesh")
        return from_trimesh(loaded)
    except (*_UNREADABLE, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as a mesh: {error}.") from None


def import_trimesh() -> Any:
    """The package, or an ImportError that says how to install it."""
    try:
        import trimesh
    except ImportError:
        raise ImportError(
            'Mesh files need trimesh; install it with pip install "fieldwright[mesh]".'
        ) from None
    return trimesh


def from_trimesh(loaded: Any) -> Mesh:
    """A `trimesh.Trimesh` as a `Mesh`.

    Raises:
        ValueError: Coordinates that are not finite, or indices out of range.
    """
    vertices = np.array(loaded.vertices, np.float64)
    faces = np.array(loaded.faces, np.int64)
    visual = loaded.visual
    if visual.kind == "texture":
        image, flat = _base_color(visual.material)
        if image is not None and image.shape[0] * image.shape[1] <= _SWATCH:
            image, flat = None, None  # what trimesh makes up where the material file is missing
        if image is not None and visual.uv is not None:
            uvs = np.asarray(visual.uv, np.float32)[faces]
            return Mesh(vertices, faces, uvs=np.nan_to_num(uvs), texture=image)
        colors = np.tile(flat, (len(vertices), 1)) if flat is not None else None
        return Mesh(vertices, faces, colors=colors)
    colors = None
    if visual.defined:
        colors = np.asarray(visual.vertex_colors)[:, :3].astype(np.float32) / 255
    return Mesh(vertices, faces, colors=colors)


def _base_color(material: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Texture [H, W, 3] of a material, or else its color [3]."""
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if image is not None:
        return np.asarray(image.convert("RGB")), None
    color = getattr(material, "main_color", None)
    if color is None:
        return None, None
    return None, np.asarray(color)[:3].astype(np.float32) / 255


def save_mesh(mesh: Mesh, path: str | Path, *, overwrite: bool = False) -> int:
    """Write a mesh, whole or not at all, and return the bytes on disk.

    An .obj with a texture gets a .mtl and a .png of the same stem beside it; a .glb holds its
    texture; of a .ply the vertices take its colors. .stl and .off keep the shape alone.

    Args:
        mesh: What to write, in the units and axes it is in.
        path: Its ending chooses the format.
        overwrite: Replace existing files.

    Raises:
        FileExistsError: A file to be written exists and `overwrite` is False.
        ValueError: Unknown ending, or a mesh without faces.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in WRITABLE:
        raise ValueError(f"`path` must end with one of {', '.join(WRITABLE)}, got {path.name}.")
    if not len(mesh.faces):
        raise ValueError(f"`mesh` has no faces; {path} would be empty.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        _write(mesh, Path(folder) / path.name)
        made = sorted(Path(folder).iterdir())
        for file in made:
            if (path.parent / file.name).exists() and not overwrite:
                raise FileExistsError(
                    f"{path.parent / file.name} exists; choose another name or --overwrite."
                )
        total = sum(file.stat().st_size for file in made)
        for file in made:
            os.replace(file, path.parent / file.name)
    return total


def _write(mesh: Mesh, path: Path) -> None:
    kind = path.suffix.lower()
    if kind == ".ply":
        path.write_bytes(_ply_bytes(mesh))
    elif kind == ".obj":
        _write_obj(mesh, path)
    elif kind == ".glb":
        path.write_bytes(_to_trimesh(mesh).export(file_type="glb"))
    else:
        bare = import_trimesh().Trimesh(mesh.vertices, mesh.faces, process=False)
        exported = bare.export(file_type=kind[1:])
        path.write_bytes(exported if isinstance(exported, bytes) else exported.encode())


def vertex_colors(mesh: Mesh) -> np.ndarray | None:
    """sRGB [V, 3] in [0, 1]: the mesh's own, or its texture's at the vertices."""
    if mesh.texture is None or mesh.uvs is None:
        return mesh.colors
    corners = np.tile(np.eye(3, dtype=np.float32), (len(mesh.faces), 1))
    found = mesh.face_colors_at(np.repeat(np.arange(len(mesh.faces)), 3), corners)
    targets, count = mesh.faces.reshape(-1), len(mesh.vertices)
    counts = np.bincount(targets, minlength=count)[:, None]
    return (sum_rows(found, targets, count) / np.maximum(counts, 1)).astype(np.float32)


def split_at_seams(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [W, 3], faces and uv [W, 2] where a vertex with several texture places is several.

    Raises:
        ValueError: The mesh has no texture.
    """
    if mesh.uvs is None:
        raise ValueError("`mesh` has no texture coordinates.")
    rows = np.empty(mesh.faces.size, [("vertex", "i8"), ("uv", "f4", 2)])
    rows["vertex"], rows["uv"] = mesh.faces.reshape(-1), mesh.uvs.reshape(-1, 2)
    plain = rows.view(np.dtype((np.void, rows.itemsize)))
    _, chosen, inverse = np.unique(plain, return_index=True, return_inverse=True)
    kept = rows[chosen]
    return mesh.vertices[kept["vertex"]], inverse.reshape(-1, 3), kept["uv"]


def _to_trimesh(mesh: Mesh) -> Any:
    trimesh = import_trimesh()
    if mesh.texture is not None:
        vertices, faces, uv = split_at_seams(mesh)
        material = trimesh.visual.material.PBRMaterial(
            baseColorTexture=Image.fromarray(mesh.texture), metallicFactor=0.0, roughnessFactor=1.0
        )
        visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
        return trimesh.Trimesh(vertices, faces, visual=visual, process=False)
    made = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    if mesh.colors is not None:
        made.visual = trimesh.visual.ColorVisuals(made, vertex_colors=_bytes(mesh.colors))
    return made


def _bytes(colors: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(colors, 0, 1)).astype(np.uint8)


def _ply_bytes(mesh: Mesh) -> bytes:
    """Binary little-endian; positions stay float64 where float32 would round them visibly."""
    colors = vertex_colors(mesh)
    extent = float(np.ptp(mesh.vertices, axis=0).max()) or 1.0
    far = float(np.abs(mesh.vertices).max()) > 100 * extent
    number, name = ("<f8", "double") if far else ("<f4", "float")
    fields: list[Any] = [("position", number, 3)]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(mesh.vertices)}"]
    header += [f"property {name} {axis}" for axis in "xyz"]
    if colors is not None:
        fields.append(("color", "u1", 3))
        header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    rows = np.empty(len(mesh.vertices), fields)
    rows["position"] = mesh.vertices
    if colors is not None:
        rows["color"] = _bytes(colors)
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("indices", "<i4", 3)])
    faces["count"], faces["indices"] = 3, mesh.faces
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    text = "\n".join([*header, "end_header"]) + "\n"
    return text.encode("ascii") + rows.tobytes() + faces.tobytes()


def _write_obj(mesh: Mesh, path: Path) -> None:
    """Text with nine digits; colors behind the positions, or a texture beside the file."""
    out = io.StringIO()
    if mesh.texture is not None and mesh.uvs is not None:
        out.write(f"mtllib {path.stem}.mtl\nusemtl surface\n")
        material = f"newmtl surface\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nmap_Kd {path.stem}.png\n"
        path.with_suffix(".mtl").write_text(material)
        Image.fromarray(mesh.texture).save(path.with_suffix(".png"))
        np.savetxt(out, mesh.vertices, "v %.9g %.9g %.9g")
        places, inverse = np.unique(mesh.uvs.reshape(-1, 2), axis=0, return_inverse=True)
        np.savetxt(out, places, "vt %.7g %.7g")
        both = np.stack([mesh.faces, inverse.reshape(-1, 3)], 2).reshape(-1, 6) + 1
        np.savetxt(out, both, "f %d/%d %d/%d %d/%d")
    else:
        rows = mesh.vertices
        if mesh.colors is not None:
            rows = np.concatenate([rows, mesh.colors], 1)
        np.savetxt(out, rows, "v" + " %.9g" * 3 + " %.4f" * (rows.shape[1] - 3))
        np.savetxt(out, mesh.faces + 1, "f %d %d %d")
    path.write_text(out.getvalue())
