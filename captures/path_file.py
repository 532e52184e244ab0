"""Camera paths in JSON files.

    {"version": 1, "fps": 30, "keyframes": [
        {"time": 0.0, "fov_y_deg": 50.0, "camtoworld": [[...], [...], [...], [0, 0, 0, 1]]}, ...]}

`camtoworld` is a 4x4 camera-to-world matrix with OpenCV axes (x right, y down, z forward) in the
frame of the scene file; `fov_y_deg` is the full vertical field of view in degrees. `keyframes`,
with `time` in seconds, are joined by a smooth curve; `frames`, without `time`, are taken as they
are. The image size is chosen by who renders.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from .cameras import Cameras
from .paths import interpolate_cameras

_MAX_FRAMES = 1_000_000


@dataclass(frozen=True)
class CameraPath:
    """Cameras to be shown one after the other."""

    cameras: Cameras
    """One per frame, in the frame of the scene."""
    fps: float
    """Frames per second."""


def read_path(path: Path, *, width: int, height: int) -> CameraPath:
    """The path in a JSON file, for images of the given size.

    Raises:
        ValueError: Not such a file; the message names the file and the entry.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable as JSON: {error}.") from None
    if not isinstance(content, dict) or content.get("version") != 1:
        raise ValueError(f'{path} must hold an object with "version": 1, see the guide on paths.')
    fps = _number(path, "fps", content.get("fps", 30), low=0.01, high=1000.0)
    kinds = [kind for kind in ("frames", "keyframes") if isinstance(content.get(kind), list)]
    if len(kinds) != 1 or not content[kinds[0]]:
        raise ValueError(f"{path} must have one non-empty list, `frames` or `keyframes`.")
    entries = content[kinds[0]]
    cameras = _cameras(path, kinds[0], entries, width, height)
    if kinds[0] == "frames" or len(entries) == 1:
        return CameraPath(cameras, fps)
    values = [
        _number(path, f"keyframes[{i}].time", entry.get("time"), low=-1e9, high=1e9)
        for i, entry in enumerate(entries)
    ]
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise ValueError(f"{path}: `time` of the keyframes must increase strictly, got {values}.")
    num_frames = round((values[-1] - values[0]) * fps) + 1
    if num_frames > _MAX_FRAMES:
        raise ValueError(f"{path} asks for {num_frames} frames, more than {_MAX_FRAMES}.")
    times = torch.tensor(values, dtype=torch.float64)
    at = values[0] + torch.arange(num_frames, dtype=torch.float64) / fps
    return CameraPath(interpolate_cameras(cameras, times, at), fps)


def write_path(path: Path, cameras: Cameras, *, fps: float) -> None:
    """Write `cameras` as the `frames` of a JSON path."""
    frames = [
        {
            "camtoworld": camtoworld.tolist(),
            "fov_y_deg": math.degrees(2 * math.atan(cameras.height / 2 / float(K[1, 1]))),
        }
        for camtoworld, K in zip(cameras.camtoworlds, cameras.Ks, strict=True)
    ]
    content = {"version": 1, "fps": fps, "frames": frames}
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _cameras(path: Path, kind: str, entries: list[Any], width: int, height: int) -> Cameras:
    camtoworlds, Ks = [], []
    for index, entry in enumerate(entries):
        where = f"{kind}[{index}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: `{where}` must be an object, got {entry!r}.")
        camtoworlds.append(_matrix(path, f"{where}.camtoworld", entry.get("camtoworld")))
        fov = _number(path, f"{where}.fov_y_deg", entry.get("fov_y_deg"), low=0.1, high=179.0)
        focal = height / 2 / math.tan(math.radians(fov) / 2)
        Ks.append([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Cameras(
        viewmats=torch.linalg.inv(torch.stack(camtoworlds)),
        Ks=torch.tensor(Ks, dtype=torch.float64),
        width=width,
        height=height,
    )


def _matrix(path: Path, where: str, value: Any) -> torch.Tensor:
    try:
        matrix = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        matrix = torch.empty(0)
    if matrix.shape != (4, 4) or not bool(torch.isfinite(matrix).all()):
        raise ValueError(f"{path}: `{where}` must be a 4x4 matrix of finite numbers.")
    rotation = matrix[:3, :3]
    error = float((rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max())
    if error > 1e-3 or float(torch.linalg.det(rotation)) < 0:
        raise ValueError(
            f"{path}: `{where}` must have a rotation in its upper left 3x3 block; write "
            "camera-to-world matrices without scale."
        )
    return matrix


def _number(path: Path, where: str, value: Any, *, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{path}: `{where}` must be a number in [{low}, {high}], got {value!r}.")
    return float(value)
