"""Render a camera path of a scene to an mp4 file or a folder of PNG frames, without a viewer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from rich.progress import track

from captures import Cameras, Renderable, load_capture
from captures.colormaps import colorize_depth, depth_limits
from captures.evaluation import BACKGROUNDS, Background
from captures.path_file import CameraPath, read_path
from captures.paths import cameras_around, interpolate_path, orbit_path, spiral_path
from captures.video import write_frames, write_video
from fields.scene_files import open_scene

from .common import Common, console, resolve_device
from .scenes import run_settings

_PATHS = {"orbit": orbit_path, "spiral": spiral_path, "interpolate": interpolate_path}


@dataclass(frozen=True, kw_only=True)
class Render(Common):
    """Flags of `fieldwright render`."""

    scene: Annotated[Path, tyro.conf.Positional]
    """A run folder or a scene file."""
    out: Annotated[Path, tyro.conf.Positional]
    """An .mp4 file, or a folder for PNG frames."""
    path: str = "orbit"
    """orbit, spiral, interpolate (through the training cameras) or a JSON file."""
    data: Path | None = None
    """Capture whose cameras shape the path; None takes the run's, else the scene's bounds."""
    channel: Literal["rgb", "depth", "alpha"] = "rgb"
    """What to show."""
    seconds: float = 6.0
    """Length of the video; JSON files have their own."""
    fps: float = 30.0
    """Frames per second; JSON files have their own."""
    width: int | None = None
    """Frame width in pixels; None takes that of the capture, else 960."""
    height: int | None = None
    """Frame height in pixels; None takes that of the capture, else 540."""
    background: Background = "black"
    """Behind the scene."""
    overwrite: bool = False
    """Replace an existing output."""


def run(config: Render) -> dict[str, Any]:
    """Render the path and write the frames; returns the `--json` summary."""
    if config.out.suffix != ".mp4" and config.out.suffix:
        raise ValueError(f"`out` must end with .mp4 or be a folder, got {config.out}.")
    if config.out.exists() and not config.overwrite and not _is_empty_folder(config.out):
        raise FileExistsError(f"{config.out} exists; choose another name or pass --overwrite.")
    if config.seconds <= 0 or config.fps <= 0:
        raise ValueError(
            f"`--seconds` and `--fps` must be above 0, got {config.seconds} and {config.fps}."
        )
    device = resolve_device(config)
    scene = open_scene(config.scene, device=device)
    path = _choose_path(config, scene)
    frames = _frames(scene, path.cameras, config)
    if config.out.suffix == ".mp4":
        count = write_video(config.out, frames, fps=path.fps, overwrite=config.overwrite)
    else:
        count = write_frames(config.out, frames, overwrite=config.overwrite)
    console.print(f"Wrote {count} frames to {config.out}")
    return {
        "num_frames": count,
        "fps": path.fps,
        "width": path.cameras.width,
        "height": path.cameras.height,
        "device": str(device),
        "output": str(config.out),
    }


def _choose_path(config: Render, scene: Renderable) -> CameraPath:
    """The cameras of the path in the frame of the scene file."""
    if config.path not in _PATHS:
        file = Path(config.path)
        if not file.is_file():
            raise FileNotFoundError(
                f"`--path` must be {', '.join(_PATHS)} or a JSON file, got {config.path}."
            )
        return read_path(file, width=config.width or 960, height=config.height or 540)
    guides = _guides(config, scene)
    num_frames = max(1, round(config.seconds * config.fps))
    return CameraPath(_PATHS[config.path](guides, num_frames), config.fps)


def _guides(config: Render, scene: Renderable) -> Cameras:
    """Cameras to shape the path after: the training cameras, else a ring around the scene."""
    data = config.data or run_settings(config.scene).get("data")
    if data is None:
        return cameras_around(
            scene.bounds(), width=config.width or 960, height=config.height or 540
        )
    settings = run_settings(config.scene)
    capture = load_capture(Path(data), downscale=settings.get("downscale"))
    cameras = capture.T_source_capture.apply_to_cameras(capture.cameras[list(capture.train)])
    cameras = replace(cameras, sizes=None)
    width, height = config.width, config.height
    if width is None and height is None:
        return cameras
    width = width or max(1, round(cameras.width * (height or 1) / cameras.height))
    height = height or max(1, round(cameras.height * width / cameras.width))
    return _fitted(cameras, width, height)


def _fitted(cameras: Cameras, width: int, height: int) -> Cameras:
    """The same views with square pixels on another canvas; the height keeps its field of view."""
    scale = height / cameras.height
    Ks = cameras.Ks.clone()
    Ks[:, :2] *= scale
    Ks[:, 0, 2] += (width - cameras.width * scale) / 2
    return replace(cameras, Ks=Ks, width=width, height=height)


def _frames(scene: Renderable, cameras: Cameras, config: Render) -> Iterator[np.ndarray]:
    """8-bit frames [H, W, 3], one camera at a time, with a progress bar."""
    background = torch.tensor(BACKGROUNDS[config.background])
    limits = None
    for index in track(range(len(cameras)), "render", console=console):
        camera = cameras[index]
        if config.channel == "depth":
            output = scene.render(camera, channels=("depth", "alpha"))
            depth, alpha = (output.channel(name)[0, ..., 0].cpu() for name in ("depth", "alpha"))
            limits = limits or depth_limits(depth, alpha)  # one scale for the whole video
            image = colorize_depth(depth, alpha, limits=limits)
        else:
            output = scene.render(camera, channels=(config.channel,), background=background)
            image = output.channel(config.channel)[0].cpu().expand(-1, -1, 3)
        yield (image.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
