"""The controls beside the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .buttons import add_button
from .compare import COMPARE_MODES, CompareMode
from .frames import ViewChannel

if TYPE_CHECKING:
    import viser


@dataclass(frozen=True)
class ViewSettings:
    """What the controls say now."""

    scene: str
    """Name of the scene shown."""
    channel: ViewChannel
    """What of it is shown."""
    background: tuple[int, int, int]
    """sRGB, 0 to 255."""
    compare: CompareMode
    """How the nearest photo is shown beside the render."""
    edge: float
    """Where the compare slider stands, 0 to 1."""
    show_cameras: bool
    """Frusta."""
    show_points: bool
    """Sparse points."""
    max_size: int
    """Longest side of a full frame, pixels."""
    browser_motion: bool
    """Let the browser draw splats while the camera moves."""


@dataclass(frozen=True)
class PanelActions:
    """What the panel's buttons do, each for the browser that pressed."""

    changed: Callable[[], None]
    """Some setting changed."""
    reset_view: Callable[[viser.ClientHandle], None]
    go_to_photo: Callable[[viser.ClientHandle], None]
    screenshot: Callable[[viser.ClientHandle], None]
    add_keyframe: Callable[[viser.ClientHandle], None]
    clear_keyframes: Callable[[viser.ClientHandle], None]
    play_path: Callable[[viser.ClientHandle], None]
    save_path: Callable[[viser.ClientHandle], None]


class Panel:
    """Builds the controls and reads them."""

    def __init__(
        self,
        server: viser.ViserServer,
        actions: PanelActions,
        *,
        scenes: Sequence[str],
        has_capture: bool,
        has_points: bool,
        max_size: int,
    ) -> None:
        gui = server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(230, 120, 20))
        self.status = gui.add_markdown("Loading the scene.")
        self._single_scene = scenes[0]
        self._scene = gui.add_dropdown("Scene", tuple(scenes)) if len(scenes) > 1 else None
        self._channel = gui.add_dropdown("Show", ("Color", "Depth", "Alpha"))
        self._background = gui.add_rgb("Background", (0, 0, 0))
        self._max_size = gui.add_slider(
            "Resolution", 128, max(2560, max_size), 64, max_size, hint="Longest side in pixels"
        )
        self._motion = gui.add_checkbox(
            "Splats while moving", True, hint="The browser draws them itself, in one color each"
        )
        add_button(gui, "Reset view", actions.reset_view)
        add_button(gui, "Screenshot", actions.screenshot)
        with gui.add_folder("Photos", visible=has_capture):
            self._cameras = gui.add_checkbox("Cameras", has_capture, hint="Click one to fly there")
            self._points = gui.add_checkbox("Sparse points", False, visible=has_points)
            add_button(gui, "Go to the nearest photo", actions.go_to_photo)
            self._compare = gui.add_dropdown("Compare", COMPARE_MODES)
            self._edge = gui.add_slider("Photo up to", 0.0, 1.0, 0.01, 0.5, visible=False)
            self._compare.on_update(lambda _: self._show_edge())
        with gui.add_folder("Camera path", expand_by_default=False):
            self.path_status = gui.add_markdown("No keyframes.")
            self.seconds_per_keyframe = gui.add_number("Seconds per keyframe", 2.0, min=0.1)
            add_button(gui, "Add keyframe", actions.add_keyframe)
            add_button(gui, "Play", actions.play_path)
            add_button(gui, "Save as JSON", actions.save_path)
            add_button(gui, "Clear", actions.clear_keyframes)
        controls = [
            self._channel, self._background, self._max_size, self._motion, self._cameras,
            self._points, self._compare, self._edge, self._scene,
        ]  # fmt: skip
        for control in controls:
            if control is not None:
                control.on_update(lambda _: actions.changed())

    def _show_edge(self) -> None:
        self._edge.visible = self._compare.value == "Slider"

    def settings(self) -> ViewSettings:
        """What the controls say now."""
        return ViewSettings(
            scene=self._single_scene if self._scene is None else self._scene.value,
            channel=self._channel.value,
            background=self._background.value,
            compare=self._compare.value,
            edge=self._edge.value,
            show_cameras=self._cameras.value,
            show_points=self._points.value,
            max_size=int(self._max_size.value),
            browser_motion=self._motion.value,
        )
