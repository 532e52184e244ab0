"""The points of many scans in one PLY file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from runs.files import replacing


def thin(
    points: Float[np.ndarray, "N 3"], voxel: float
) -> tuple[Float[np.ndarray, "M 3"], np.ndarray]:
    """One point, the first, of every cube of side `voxel`; and which points those are."""
    if not voxel > 0:
        raise ValueError(f"`voxel` must be positive, in world units, got {voxel}.")
    cells = np.floor((points - points.min(axis=0)) / voxel).astype(np.int64)
    size = cells.max(axis=0) + 1
    keys = (cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    chosen = np.sort(np.unique(keys, return_index=True)[1])
    return points[chosen], chosen


def write_cloud(
    path: Path,
    parts: Sequence[Float[np.ndarray, "_ 3"]],
    colors: Sequence[UInt8[np.ndarray, "_ 3"]],
    *,
    overwrite: bool,
) -> Path:
    """Write points in world units and their colors as a binary PLY file.

    Raises:
        FileExistsError: `path` exists and `overwrite` is off.
        ValueError: `path` does not end with .ply.
    """
    if path.suffix.lower() != ".ply":
        raise ValueError(f"`path`: merged clouds are written as .ply, got {path.name}.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; choose another file or pass --overwrite.")
    rows = np.empty(sum(map(len, parts)), np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))
    rows["xyz"], rows["rgb"] = np.concatenate(parts), np.concatenate(colors)
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"property uchar {name}" for name in ("red", "green", "blue")]
    with replacing(path) as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode("ascii"))
        file.write(rows.tobytes())
    return path
