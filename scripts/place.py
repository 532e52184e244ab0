"""Place a scene: upright by gravity, and in meters by a known length."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from captures import Similarity
from registration import Registration, align_gravity, as_cloud, find_floor, metric_scale
from registration.merging import transformed
from registration.output import write_cloud, write_transform

from .common import Common, console

_DOWN_IS_Y = (0.0, -1.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Place(Common):
    """Flags of `fieldwright place`."""

    source: Annotated[Path, tyro.conf.Positional]
    """A splat file, a run folder, or a PLY, PCD, XYZ, NPY, LAS or mesh file."""
    output: Annotated[Path, tyro.conf.Positional]
    """A .json file for the transform alone, or a file for the moved scene, whose transform is then
    written beside it."""
    up: str | None = None
    """`floor` for the largest plane, or the direction that shall point up, as "x,y,z"."""
    length: tuple[str, float] | None = None
    """Two points as JSON "[[x,y,z],[x,y,z]]" and their true distance in meters."""
    target_up: tuple[float, float, float] = _DOWN_IS_Y
    """Where up shall be; (0, -1, 0) in the axes of COLMAP and 3DGS."""
    overwrite: bool = False
    """Replace existing outputs."""


def run(config: Place) -> dict[str, Any]:
    """Turn, scale and write; returns the `--json` summary."""
    transform = config.output.with_suffix(".json")
    for path in {config.output, transform}:
        if path.exists() and not config.overwrite:
            raise FileExistsError(f"{path} exists; choose another name or --overwrite.")
    if config.up is None and config.length is None:
        raise ValueError("`place` needs --up, --length or both.")
    cloud = as_cloud(config.source)
    placement = Similarity()
    if config.up is not None:
        up = find_floor(cloud) if config.up == "floor" else _vector(config.up)
        placement = align_gravity(up, target_up=config.target_up)
    if config.length is not None:
        ends = _ends(config.length[0])
        placement = metric_scale(ends[0], ends[1], config.length[1]).compose(placement)
    found = Registration(placement.matrix().numpy(), placement.scale, 1.0, 0.0, 1.0, True)
    written = [transform]
    write_transform(found, transform, source=str(config.source))
    if config.output != transform:
        write_cloud(transformed(cloud, found), config.output, overwrite=config.overwrite)
        written.append(config.output)
    for path in written:
        console.print(f"wrote {path}")
    return {
        "T_target_source": found.T_target_source.tolist(),
        "scale": found.scale,
        "output": [str(path) for path in written],
    }


def _vector(text: str) -> np.ndarray:
    try:
        vector = np.array([float(part) for part in text.split(",")])
    except ValueError:
        vector = np.zeros(0)
    if vector.shape != (3,):
        raise ValueError(f'`--up` must be "floor" or a direction "x,y,z", got {text!r}.')
    return vector


def _ends(text: str) -> np.ndarray:
    try:
        ends = np.array(json.loads(text), np.float64)
    except ValueError:
        ends = np.zeros(0)
    if ends.shape != (2, 3):
        raise ValueError(f'`--length` needs two points as "[[x,y,z],[x,y,z]]", got {text!r}.')
    return ends
