"""Look at scenes in the browser."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from .common import Common, console, resolve_device


@dataclass(frozen=True, kw_only=True)
class ViewConfig(Common):
    """Flags of `fieldwright view`."""

    scenes: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_FILE")]
    """Runs or scene files, shown one at a time."""
    data: Path | None = None
    """Capture whose cameras and photos to show; in the frame of the scenes."""
    downscale: int | None = None
    """Factor by which to shrink the photos."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines connect."""
    port: int = 8080
    """Port to listen on; the next free one is taken if it is in use."""
    max_image_size: int = 1280
    """Longest side of a full frame in pixels."""


def run(config: ViewConfig) -> dict[str, Any]:
    """Serve until interrupted; returns the address and the scenes."""
    from viewer import SceneViewer

    if not config.scenes:
        raise ValueError("`RUN_OR_FILE` must name one or more runs or scene files, got none.")
    device = resolve_device(config)
    scenes = [_load(path, name, device) for path, name in _names(config.scenes)]
    capture = None
    if config.data is not None:
        from captures import load_capture

        # Scene files are in the frame of the capture as stored, not the normalized one.
        capture = load_capture(config.data, downscale=config.downscale, normalize=False)
    with SceneViewer(
        scenes,
        capture,
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


def _load(path: Path, name: str, device: Any) -> Any:
    """The scene of a file or run through the first installed kind that reads it."""
    from runs import SCENES, list_plugins, load_plugin
    from viewer import NamedScene

    failures = []
    for kind in list_plugins(SCENES):
        try:
            return NamedScene(name, load_plugin(SCENES, kind)(path, device=device))
        except ValueError as error:
            failures.append(f"{kind}: {error}")
    raise ValueError(f"{path} is no scene that an installed kind reads: {'; '.join(failures)}")
