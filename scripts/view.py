"""Look at scenes in the browser."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from captures import Capture, Similarity, load_capture
from fields.scene_files import open_scene

from .common import Common, console, resolve_device
from .scenes import run_settings


@dataclass(frozen=True, kw_only=True)
class ViewConfig(Common):
    """Flags of `fieldwright view`."""

    scenes: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_FILE")]
    """Runs or scene files, shown one at a time."""
    data: Path | None = None
    """Capture whose cameras and photos to show; None takes that of the run, if it still exists."""
    downscale: float | None = None
    """Factor by which to shrink the photos; None takes that of the run."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines connect."""
    port: int = 8080
    """Port to listen on; the next free one is taken if it is in use."""
    max_image_size: int = 1280
    """Longest side of a full frame in pixels."""


def run(config: ViewConfig) -> dict[str, Any]:
    """Serve until interrupted; returns the address and the scenes."""
    from viewer import NamedScene, SceneViewer, require_viser

    require_viser()
    if not config.scenes:
        raise ValueError("`RUN_OR_FILE` must name one or more runs or scene files, got none.")
    device = resolve_device(config)
    scenes = [
        NamedScene(name, open_scene(path, device=device)) for path, name in _names(config.scenes)
    ]
    with SceneViewer(
        scenes,
        _capture(config),
        host=config.host,
        port=config.port,
        max_image_size=config.max_image_size,
    ) as viewer:
        console.print(f"Open {viewer.url} in a browser. Ctrl-C ends the viewer.")
        url = viewer.url
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            console.print("Viewer closed.")
    return {"url": url, "scenes": [scene.name for scene in scenes]}


def _names(paths: tuple[Path, ...]) -> list[tuple[Path, str]]:
    """Each path with a name that no other has."""
    plain = [path.stem if path.is_file() else path.resolve().name for path in paths]
    unique = len(set(plain)) == len(plain)
    return [
        (path, name if unique else f"{index + 1}: {name}")
        for index, (path, name) in enumerate(zip(paths, plain, strict=True))
    ]


def _capture(config: ViewConfig) -> Capture | None:
    """The capture of `--data`, else of the first run that has one, in the scene files' frame."""
    data, downscale = config.data, config.downscale
    if data is None:
        found = (run_settings(path) for path in config.scenes)
        settings = next((item for item in found if item.get("data")), None)
        if settings is None:
            return None
        data, downscale = Path(settings["data"]), downscale or settings.get("downscale")
        if not data.exists():
            console.print(f"Without cameras and photos: {data} is gone; --data names another.")
            return None
    capture = load_capture(data, downscale=downscale)
    to_source, points = capture.T_source_capture, capture.points
    if points is not None:
        positions = to_source.apply(points.positions.double()).float()
        points = replace(points, positions=positions)
    return replace(
        capture,
        cameras=to_source.apply_to_cameras(capture.cameras),
        points=points,
        T_source_capture=Similarity(),
    )
