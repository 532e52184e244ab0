"""The viewer: a viser server, its scenes, one session per browser and the render thread."""

from __future__ import annotations

import io
import logging
import math
import threading
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from captures import Capture, Renderable, Similarity

from .browser_splats import browser_splats
from .camera import ViewPose, initial_pose, nearest_camera, up_direction
from .compare import compose, photo_as_seen
from .frames import (
    Frame,
    channels_for,
    colorize,
    compositing_depth,
    render_in_strips,
    to_bytes,
)
from .frusta import CaptureLayer
from .keyframes import KeyframeRecorder
from .panel import Panel, PanelActions, ViewSettings
from .placing import Pick, PlacingActions, PlacingPanel, placed, surface_point
from .render_loop import FrameRequest, RenderLimits, fit_inside
from .render_thread import RenderThread
from .session import SPLATS_NODE, ClientSession

if TYPE_CHECKING:
    import viser

_CLEAR_RADIUS = 0.3
"""Around the browser's camera no other is drawn, in extents of the capture."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NamedScene:
    """A scene and what to call it."""

    name: str
    """Shown in the drop-down; unique."""
    renderable: Renderable
    """Drawn by the browser, too, if it has an attribute `gaussians`."""


class SceneViewer:
    """Serves scenes to browsers until `close`; never owns the caller's loop."""

    def __init__(
        self,
        scenes: Sequence[NamedScene],
        capture: Capture | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        max_image_size: int = 1280,
    ) -> None:
        """Start serving.

        Args:
            scenes: One or more.
            capture: Cameras and photos to draw and compare with, in the scenes' frame.
            host: Address to listen on; 0.0.0.0 for all.
            port: The next free one is taken if it is in use; see `url`.
            max_image_size: Longest side of a full frame in pixels.

        Raises:
            ImportError: viser is not installed.
            ValueError: No scene, or two of one name.
        """
        names = [scene.name for scene in scenes]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"`scenes` must hold one or more with different names, got {names}.")
        self._scenes = {scene.name: scene.renderable for scene in scenes}
        self._capture = capture
        self._limits = RenderLimits(max_size=max_image_size)
        self._sessions: dict[int, ClientSession] = {}
        self._keyframes = KeyframeRecorder()
        self._lock = threading.RLock()
        self._drawn_splats: tuple[str, Any] | None = None
        cameras = capture.cameras if capture is not None else None
        up = up_direction(cameras) if cameras is not None else torch.tensor([0.0, -1.0, 0.0])
        self._home = initial_pose(capture, scenes[0].renderable.bounds().cpu(), up.double())
        self.server = _start_server(host, port)
        """viser's server, for additions of one's own."""
        self._place_camera(up)
        self._layer = CaptureLayer(self.server, capture, self._fly_to) if capture else None
        self.panel = self._make_panel(names)
        """The controls."""
        self._settings = self.panel.settings()
        actions = PlacingActions(lambda: self._settings.scene, self._pick, self._move_scene)
        self.placing = PlacingPanel(self.server, tuple(names), actions)
        """Picked points and what they are used for."""
        self._draw_splats()
        self._thread = RenderThread(self._current_sessions, self._render)
        self.server.on_client_connect(self._connect)
        self.server.on_client_disconnect(self._disconnect)

    @property
    def url(self) -> str:
        """Where to point a browser."""
        host = self.server.get_host()
        return f"http://{'localhost' if host == '0.0.0.0' else host}:{self.server.get_port()}"

    @property
    def num_browsers(self) -> int:
        """How many are connected."""
        return len(self._sessions)

    def set_scene(self, name: str, renderable: Renderable) -> None:
        """Replace a scene, for example by a later state of its training."""
        with self._lock:
            self._scenes[name] = renderable
        if name == self._settings.scene:
            self._draw_splats()
            for session in self._current_sessions():
                with session.lock:
                    session.schedule.content_changed(preview=False)
            self._thread.wake()

    def close(self) -> None:
        """Stop rendering and serving."""
        self._thread.close()
        if self._layer is not None:
            self._layer.close()
        with redirect_stdout(io.StringIO()):
            self.server.stop()

    def __enter__(self) -> SceneViewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _place_camera(self, up: torch.Tensor) -> None:
        self.server.scene.set_up_direction(up.double().numpy())
        start, home = self.server.initial_camera, self._home
        distance = float((home.look_at - home.position).norm())
        start.position, start.look_at = home.position.numpy(), home.look_at.numpy()
        start.up, start.fov = up.double().numpy(), home.fov_y
        start.near, start.far = 1e-3 * distance, 1e3 * distance

    def _make_panel(self, names: list[str]) -> Panel:
        actions = PanelActions(
            changed=self._settings_changed,
            reset_view=lambda client: self._fly_to(client, self._home),
            go_to_photo=self._go_to_photo,
            screenshot=self._screenshot,
            add_keyframe=self._add_keyframe,
            clear_keyframes=lambda _: self._clear_keyframes(),
            play_path=self._play_path,
            save_path=self._save_path,
        )
        capture = self._capture
        return Panel(
            self.server,
            actions,
            scenes=names,
            has_capture=capture is not None,
            has_points=capture is not None and capture.points is not None,
            max_size=self._limits.max_size,
        )

    def _current_sessions(self) -> list[ClientSession]:
        with self._lock:
            return list(self._sessions.values())

    def _connect(self, client: viser.ClientHandle) -> None:
        draws = self._settings.browser_motion and self._drawn_splats is not None
        session = ClientSession(client, self._limits, browser_draws_motion=draws)
        session.background = self._settings.background
        with self._lock:
            self._sessions[client.client_id] = session
        if self._layer is not None:
            self._layer.load_thumbnails()

        @client.camera.on_update
        async def _(_: viser.CameraHandle) -> None:
            if session.camera_changed():
                self._thread.wake()

        session.camera_changed()
        self._thread.wake()

    def _disconnect(self, client: viser.ClientHandle) -> None:
        with self._lock:
            session = self._sessions.pop(client.client_id, None)
        if session is not None:
            session.end()

    def _settings_changed(self) -> None:
        with self._lock:
            before, self._settings = self._settings, self.panel.settings()
            now = self._settings
            self._limits = RenderLimits(max_size=now.max_size)
        if now.scene != before.scene:
            self._draw_splats()
        if self._layer is not None:
            plain = now.compare == "Off"
            self._layer.show(cameras=now.show_cameras and plain, points=now.show_points and plain)
        for session in self._current_sessions():
            session.background = now.background
            session.set_browser_draws_motion(now.browser_motion and self._drawn_splats is not None)
            with session.lock:
                session.schedule.limits = self._limits
                session.schedule.content_changed(preview=True)
        self._thread.wake()

    def _draw_splats(self) -> None:
        """Give the browsers the splats of the scene shown, if it has any."""
        name = self._settings.scene
        gaussians = getattr(self._scenes[name], "gaussians", None)
        with self._lock:
            if gaussians is None:
                if self._drawn_splats is not None:
                    self._drawn_splats[1].remove()
                self._drawn_splats = None
                return
            splats = browser_splats(gaussians)
            self.server.scene.add_frame(SPLATS_NODE, show_axes=False)
            handle = self.server.scene.add_gaussian_splats(
                f"{SPLATS_NODE}/scene",
                splats.centers,
                splats.covariances,
                splats.rgbs,
                splats.opacities,
                scale=splats.unit,
            )
            self._drawn_splats = (name, handle)

    def _render(self, session: ClientSession, request: FrameRequest) -> bool:
        """Render and show one frame; False if the view changed meanwhile."""
        pose, settings = session.pose, self._settings
        if pose is None:
            return False
        start = time.monotonic()
        frame = self._make_frame(
            pose, settings, request.width, request.height, session=session, request=request
        )
        if frame is None:
            return False
        seconds = time.monotonic() - start
        session.hide_cameras(self._cameras_around(pose))
        shown = session.show(frame, request)
        if shown and request.full:
            self._report_status(settings, request, seconds)
        return shown

    def _make_frame(
        self,
        pose: ViewPose,
        settings: ViewSettings,
        width: int,
        height: int,
        *,
        session: ClientSession | None = None,
        request: FrameRequest | None = None,
    ) -> Frame | None:
        """The picture from `pose`; None if `session` no longer wants `request`."""
        scene, cameras = self._scenes[settings.scene], pose.cameras(width, height)
        background = torch.tensor(settings.background, dtype=torch.float32) / 255
        overlays = self._layer is not None and settings.compare == "Off"
        with_depth = overlays and (settings.show_cameras or settings.show_points)

        def keep_going() -> bool:
            if session is None or request is None:
                return True
            with session.lock:
                return session.schedule.is_current(request, time.monotonic())

        output = render_in_strips(
            scene,
            cameras,
            channels=channels_for(settings.channel, with_depth=with_depth),
            background=background,
            strips=1 if request is None or _has_splats(scene) else request.strips,
            keep_going=keep_going,
        )
        if output is None:
            return None
        image = colorize(output, settings.channel, background)
        if settings.compare != "Off" and self._capture is not None:
            index = self._nearest(pose)
            photo = self._capture.view(index).over(background)
            seen, inside = photo_as_seen(photo, self._capture.cameras[index], cameras)
            image = compose(settings.compare, image, seen, inside, edge=settings.edge)
        return Frame(to_bytes(image), compositing_depth(output) if with_depth else None)

    def _report_status(self, settings: ViewSettings, request: FrameRequest, seconds: float) -> None:
        scene = self._scenes[settings.scene]
        gaussians = getattr(scene, "gaussians", None)
        count = f"{len(gaussians):,} Gaussians, " if gaussians is not None else ""
        self.panel.status.content = (
            f"**{settings.scene}**  \n{count}{scene.num_bytes / 1e6:.1f} MB  \n"
            f"{request.width} x {request.height} in {1000 * seconds:.0f} ms "
            f"({1 / max(seconds, 1e-6):.1f} frames/s)"
        )

    def _nearest(self, pose: ViewPose) -> int:
        assert self._capture is not None
        return nearest_camera(self._capture.cameras, pose, turn_weight=self._capture.extent)

    def _cameras_around(self, pose: ViewPose) -> set[str]:
        """Nodes of the drawn cameras so close to the browser's that they would hide the scene."""
        if self._layer is None or self._capture is None:
            return set()
        distances = (self._capture.cameras.positions - pose.position).norm(dim=1)
        close = (distances < _CLEAR_RADIUS * self._capture.extent).nonzero().flatten().tolist()
        return {name for index in close if (name := self._layer.node(index)) is not None}

    def _session(self, client: viser.ClientHandle) -> ClientSession:
        return self._sessions[client.client_id]

    def _pose(self, client: viser.ClientHandle) -> ViewPose:
        pose = self._session(client).pose
        if pose is None:
            raise ValueError("The browser has not reported its camera yet; try again.")
        return pose

    def _pick(self, client: viser.ClientHandle, screen: tuple[float, float]) -> Pick:
        pose, name = self._pose(client), self._settings.scene
        aspect = client.camera.image_width / max(1, client.camera.image_height)
        point = surface_point(self._scenes[name], pose, aspect, screen)
        return Pick(name, point.numpy(), pose.position.numpy())

    def _move_scene(self, name: str, similarity: Similarity) -> None:
        self.set_scene(name, placed(self._scenes[name], similarity))

    def _fly_to(self, client: viser.ClientHandle, pose: ViewPose) -> None:
        self._session(client).fly_to(pose)

    def _go_to_photo(self, client: viser.ClientHandle) -> None:
        if self._layer is not None:
            self._fly_to(client, self._layer.pose(self._nearest(self._pose(client))))

    def _screenshot(self, client: viser.ClientHandle) -> None:
        size = fit_inside(
            client.camera.image_width, client.camera.image_height, self._settings.max_size
        )
        frame = self._make_frame(self._pose(client), self._settings, *size)
        assert frame is not None
        file = io.BytesIO()
        Image.fromarray(frame.image).save(file, format="PNG")
        client.send_file_download(f"{self._settings.scene}.png", file.getvalue())

    def _add_keyframe(self, client: viser.ClientHandle) -> None:
        self._keyframes.poses.append(self._pose(client))
        self.panel.path_status.content = f"{len(self._keyframes.poses)} keyframes."

    def _clear_keyframes(self) -> None:
        self._keyframes.poses.clear()
        self.panel.path_status.content = "No keyframes."

    def _play_path(self, client: viser.ClientHandle) -> None:
        seconds = self.panel.seconds_per_keyframe.value * max(1, len(self._keyframes.poses) - 1)
        num_frames = max(2, math.ceil(20 * seconds))
        for pose in self._keyframes.interpolated(num_frames):
            self._session(client).jump_to(pose)
            time.sleep(seconds / num_frames)

    def _save_path(self, client: viser.ClientHandle) -> None:
        if not self._keyframes.poses:
            raise ValueError("There are no keyframes yet; press Add keyframe first.")
        seconds = self.panel.seconds_per_keyframe.value
        content = self._keyframes.to_json(seconds_per_keyframe=seconds)
        client.send_file_download("camera_path.json", content)


def _has_splats(scene: Renderable) -> bool:
    """Splats are not cut into strips: their projection depends on where the picture ends."""
    return hasattr(scene, "gaussians")


def require_viser() -> None:
    """Raise ImportError with the line that installs viser where it is missing."""
    if find_spec("viser") is None:
        raise ImportError(
            'The viewer needs viser; install it with pip install "fieldwright[view]".'
        )


def _start_server(host: str, port: int) -> viser.ViserServer:
    require_viser()
    import viser

    with redirect_stdout(io.StringIO()):  # its banner; callers announce `url` in their own way
        return viser.ViserServer(host=host, port=port, label="Fieldwright", verbose=False)
