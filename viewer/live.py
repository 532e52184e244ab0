"""Watching a training in the browser without slowing it down."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from captures import Capture, Renderable

from .app import NamedScene, SceneViewer

_REFRESH_SECONDS = 1.0
"""Least time between two snapshots of the parameters."""
_SCENE = "Training"

logger = logging.getLogger(__name__)


class LiveViewer:
    """Shows the newest state of a training; the training calls `update` after each step.

    The parameters are copied inside `update`, on the training's own thread and at most once a
    second while a browser is connected, so rendering never sees half an optimizer step. Without a
    browser `update` only reads one attribute. An error is logged and training goes on.
    """

    def __init__(
        self,
        capture: Capture | None,
        renderable_provider: Callable[[], Renderable],
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        max_image_size: int = 960,
        metrics: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        """Start serving.

        Args:
            capture: What is trained on.
            renderable_provider: Returns the scene as it is now.
            host: Address to listen on.
            port: The next free one is taken if it is in use; see `url`.
            max_image_size: Longest side of a full frame in pixels.
            metrics: Returns the newest scalars, of which `loss` and `psnr` are shown.
        """
        self._provider = renderable_provider
        self._metrics = metrics
        self._refreshed_at = 0.0
        self._resumed = threading.Event()
        self._resumed.set()
        scene = NamedScene(_SCENE, snapshot(renderable_provider()))
        self._viewer = SceneViewer(
            [scene], capture, host=host, port=port, max_image_size=max_image_size
        )
        with self._viewer.server.gui.add_folder("Training", order=-1):
            self._status = self._viewer.server.gui.add_markdown("Waiting for the first step.")
            self._pause = self._viewer.server.gui.add_button("Pause training")
        self._pause.on_click(lambda _: self._toggle())

    @property
    def url(self) -> str:
        """Where to point a browser."""
        return self._viewer.url

    def update(self, step: int) -> None:
        """Tell the viewer that `step` is done; blocks while the browser has paused the training.

        A pause ends when the last browser disconnects.
        """
        if self._viewer.num_browsers == 0:
            return
        now = time.monotonic()
        if now - self._refreshed_at >= _REFRESH_SECONDS or not self._resumed.is_set():
            self._refreshed_at = now
            try:
                self._refresh(step)
            except Exception:  # watching must not end a training
                logger.exception("The live view could not be refreshed at step %d.", step)
        while not self._resumed.wait(timeout=0.2):
            if self._viewer.num_browsers == 0:
                self._toggle()

    def close(self) -> None:
        """Stop serving and end a pause."""
        self._resumed.set()
        self._viewer.close()

    def __enter__(self) -> LiveViewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refresh(self, step: int) -> None:
        scene = snapshot(self._provider())
        self._viewer.set_scene(_SCENE, scene)
        lines = [f"Step {step:,}"]
        values = self._metrics() if self._metrics is not None else {}
        if "loss" in values:
            lines.append(f"Loss {float(values['loss']):.4f}")
        if "psnr" in values:
            lines.append(f"PSNR {float(values['psnr']):.2f} dB")
        count = getattr(scene, "num_primitives", None)
        if count is not None:
            lines.append(f"{count:,} primitives")
        self._status.content = "  \n".join(lines)

    def _toggle(self) -> None:
        if self._resumed.is_set():
            self._resumed.clear()
            self._pause.label = "Resume training"
        else:
            self._resumed.set()
            self._pause.label = "Pause training"


def snapshot(renderable: Any) -> Any:
    """A scene that later optimizer steps do not change: its Gaussians, if any, are copied.

    Other scenes are returned as they are; their providers must hand out copies.
    """
    gaussians = getattr(renderable, "gaussians", None)
    if gaussians is None or not is_dataclass(renderable) or isinstance(renderable, type):
        return renderable
    copies = [getattr(gaussians, item.name).detach().clone() for item in fields(gaussians)]
    return replace(renderable, **{"gaussians": type(gaussians)(*copies)})
