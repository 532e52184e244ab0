"""Point clouds and meshes as splats, and splats as point clouds.

Points become round Gaussians as wide as their spacing, meshes are sampled evenly first. The other
way round, a PLY file with positions, colors and opacities (as alpha) is written. Such files do not
state their axes; numbers are taken to be in the house frame.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from captures import SparsePoints
from runs.files import replacing

from ..gaussians import Gaussians
from .contract import HOUSE_FRAME, FileSummary, FormatError, LossReport, Source, refuse_existing
from .frames import in_frame
from .ply_header import Header
from .quantization import alpha_bytes, color_bytes
from .sources import InMemory

MESH_SAMPLES = 200_000
"""Points taken from the surface of a mesh."""

_OPACITY = 0.95
_GRAY = 0.5
_ROW = np.dtype([("means", "<f4", 3), ("rgba", "u1", 4)])
_SPLAT_PROPERTIES = ("f_dc_0", "opacity", "scale_0", "rot_0")
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error)


@dataclass(frozen=True)
class PointsOptions:
    """Point clouds have nothing to choose."""


class PointsFormat:
    """Point clouds and meshes as a `Format`; what is written is a point cloud."""

    suffixes = (".points.ply", ".obj", ".off", ".stl", ".xyz")
    magic = b""
    Options = PointsOptions

    def open(self, path: Path) -> InMemory:
        """The points of a cloud, or `MESH_SAMPLES` points of a mesh, as Gaussians.

        Raises:
            FormatError: trimesh cannot read the file, or there are no points.
            ImportError: trimesh is not installed.
        """
        from ..training.initialization import gaussians_at

        points = read_points(path)
        return InMemory(gaussians_at(points, sh_degree=0, opacity=_OPACITY))

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: PointsOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """Write means, colors and opacities as a PLY point cloud; see `Format.write`.

        Raises:
            ValueError: `path` does not end with .ply.
        """
        if path.suffix.lower() != ".ply":
            raise ValueError(
                f"`path`: point clouds are written as .points.ply only, got {path.name}."
            )
        refuse_existing(path, overwrite=overwrite)
        lines = ["ply", "format binary_little_endian 1.0"]
        lines.append(f"element vertex {source.num_primitives}")
        lines += [f"property float {axis}" for axis in "xyz"]
        lines += [f"property uchar {name}" for name in ("red", "green", "blue", "alpha")]
        with replacing(path) as file:
            file.write(("\n".join([*lines, "end_header"]) + "\n").encode("ascii"))
            for chunk in in_frame(source).chunks():
                file.write(_rows(chunk).tobytes())
        notes = ("Sizes, rotations and harmonics were left out: these are points only.",)
        return LossReport(path, path.stat().st_size, None, notes=notes)

    def summarize(self, path: Path) -> FileSummary:
        """Number of points; the file is read, as not every kind has a header."""
        count = self.open(path).num_primitives
        return FileSummary(
            num_primitives=count,
            sh_degree=0,
            antialiased=False,
            frame=HOUSE_FRAME,
            sections={"points": path.stat().st_size},
            details={"layout": "points or a mesh"},
        )


def is_point_cloud(header: Header) -> bool:
    """True for the header of a PLY file with positions but nothing of a splat."""
    vertex = header.element("vertex")
    if vertex is None:
        return False
    has_splats = any(name in vertex.names for name in _SPLAT_PROPERTIES)
    return set("xyz") <= set(vertex.names) and not has_splats


def read_points(path: Path) -> SparsePoints:
    """Positions and colors in [0, 1] of a point cloud, or of points on a mesh.

    Raises:
        FormatError: trimesh cannot read the file, or there are no points.
        ImportError: trimesh is not installed.
    """
    try:
        import trimesh
    except ImportError:
        raise ImportError(
            'Point clouds and meshes need trimesh; install it with pip install "fieldwright[view]".'
        ) from None
    try:
        loaded: Any = trimesh.load(str(path), process=False)
        if isinstance(loaded, trimesh.Scene):
            loaded = loaded.to_geometry()
        if isinstance(loaded, trimesh.Trimesh) and len(loaded.faces):
            sampled: Any = trimesh.sample.sample_surface(
                loaded, MESH_SAMPLES, sample_color=True, seed=0
            )
            points, colors = sampled[0], sampled[2]
        else:
            points, colors = loaded.vertices, getattr(loaded.visual, "vertex_colors", None)
    except _UNREADABLE as error:  # which does not say where
        message = f"trimesh cannot read it: {error}."
        raise FormatError(path, message, field="points", offset=0) from None
    positions = np.array(points, np.float32).reshape(-1, 3)
    shades = np.full_like(positions, _GRAY)
    if colors is not None and len(colors) == len(positions):
        shades = np.asarray(colors)[:, :3].astype(np.float32) / 255
    finite = np.isfinite(positions).all(axis=1)
    if not finite.any():
        message = "there are no points with finite coordinates."
        raise FormatError(path, message, field="points", offset=0)
    return SparsePoints(torch.from_numpy(positions[finite]), torch.from_numpy(shades[finite]))


def _rows(chunk: Gaussians) -> np.ndarray:
    rows = np.empty(len(chunk), _ROW)
    rows["means"] = chunk.means.numpy()
    rows["rgba"][:, :3] = color_bytes(chunk.sh0)
    rows["rgba"][:, 3] = alpha_bytes(chunk.logit_opacities)
    return rows
