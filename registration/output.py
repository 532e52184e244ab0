"""Transforms as JSON, and aligned or merged clouds and scenes as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from runs.files import replacing, write_json
from splats.formats import HOUSE_FRAME

from .clouds import Cloud
from .result import Registration


def write_transform(registration: Registration, path: Path, **details: Any) -> None:
    """A JSON file with the transform, what was measured and `details`; read by `read_transform`."""
    content = {
        "T_target_source": registration.T_target_source.tolist(),
        "scale": registration.scale,
        "aligned": registration.converged,
        "inlier_ratio": registration.inlier_ratio,
        "rmse": registration.rmse,
        "overlap": registration.overlap,
        "reason": registration.reason,
        "frame": HOUSE_FRAME,
        **details,
    }
    write_json(path, content)


def read_transform(path: Path) -> np.ndarray:
    """T_target_source [4, 4] of a file that `write_transform` wrote.

    Raises:
        ValueError: Not such a file.
    """
    try:
        matrix = np.array(json.loads(path.read_text())["T_target_source"], np.float64)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no transform file: {error}.") from None
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"{path}: `T_target_source` must be a finite 4x4 matrix.")
    return matrix


def write_cloud(cloud: Cloud, path: Path, *, overwrite: bool = False) -> None:
    """Points, with colors where there are any, as .ply, .xyz or .npy; splats in any splat format.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        ValueError: An ending that cannot be written.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or --overwrite.")
    if cloud.gaussians is not None:
        from splats.formats import save

        save(cloud.gaussians, path, overwrite=overwrite)
        return
    ending = path.suffix.lower()
    if ending == ".npy":
        table = cloud.points
        if cloud.colors is not None:
            table = np.concatenate([table, cloud.colors], axis=1)
        with replacing(path) as file:
            np.save(file, table, allow_pickle=False)
    elif ending == ".xyz":
        with replacing(path) as file:
            np.savetxt(file, cloud.points, fmt="%.9g")
    elif ending == ".ply":
        _write_ply(cloud, path)
    else:
        raise ValueError(f"`path`: points can be written as .ply, .xyz or .npy, got {path.name}.")


def _write_ply(cloud: Cloud, path: Path) -> None:
    fields: list[tuple[Any, ...]] = [("points", "<f8", 3)]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(cloud)}"]
    lines += [f"property double {axis}" for axis in "xyz"]
    if cloud.colors is not None:
        fields.append(("rgb", "u1", 3))
        lines += [f"property uchar {name}" for name in ("red", "green", "blue")]
    rows = np.empty(len(cloud), np.dtype(fields))
    rows["points"] = cloud.points
    if cloud.colors is not None:
        rows["rgb"] = np.clip(np.rint(255 * cloud.colors), 0, 255)
    with replacing(path) as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode("ascii"))
        file.write(rows.tobytes())
