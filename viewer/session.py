"""One connected browser: its camera, what it shows now and what it needs next."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from .camera import ViewPose, pose_from_browser
from .frames import Frame
from .render_loop import FrameRequest, RenderLimits, RenderSchedule

if TYPE_CHECKING:
    import viser

SPLATS_NODE = "/splats"
"""Parent of the splats that browsers draw; each browser hides it for itself."""

_HIDE_DELAY = 0.2
"""Seconds a browser gets to decode a frame before its own splats are hidden."""
_FLIGHT_STEPS = 15
_FLIGHT_SECONDS = 0.4

logger = logging.getLogger(__name__)


class ClientSession:
    """State and messages of one browser; safe to use from any thread."""

    def __init__(
        self, client: viser.ClientHandle, limits: RenderLimits, *, browser_draws_motion: bool
    ) -> None:
        self.client = client
        """viser's handle of the browser."""
        self.lock = threading.RLock()
        """Guards the schedule."""
        self.schedule = RenderSchedule(limits, browser_draws_motion=browser_draws_motion)
        """When to render what for this browser."""
        self.background: tuple[int, int, int] = (0, 0, 0)
        """Color behind the browser's own splats, 0 to 255."""
        self.pose: ViewPose | None = None
        """Where it looks from; None until the first message."""
        self._ended = False
        self._viewport = (0, 0)
        self._shows_motion = False
        self._hide_at: float | None = None
        self._last_error = ""
        self._splats = client.scene.add_frame(SPLATS_NODE, show_axes=False)
        self._hidden_cameras: dict[str, viser.FrameHandle] = {}

    def camera_changed(self) -> bool:
        """Take over the browser's camera; False if it is the one known already."""
        camera = self.client.camera
        pose = pose_from_browser(
            torch.as_tensor(camera.wxyz),
            torch.as_tensor(camera.position),
            camera.fov,
            torch.as_tensor(camera.look_at),
        )
        viewport = (camera.image_width, camera.image_height)
        with self.lock:
            if self.pose is not None and viewport == self._viewport and pose.is_close_to(self.pose):
                return False
            self.pose, self._viewport = pose, viewport
            self.schedule.camera_moved(time.monotonic(), *viewport)
            if self.schedule.browser_draws_motion and not self._shows_motion:
                self._show_motion()
        return True

    def end(self) -> None:
        """Send nothing more: the browser has gone."""
        with self.lock:
            self._ended = True

    def show(self, frame: Frame, request: FrameRequest) -> bool:
        """Send a frame if the browser still looks from there; returns whether it was sent."""
        with self.lock:
            if self._ended or not self.schedule.is_current(request, time.monotonic()):
                return False
            self.client.scene.set_background_image(
                frame.image,
                format="jpeg",
                jpeg_quality=92 if request.full else 75,
                depth=frame.depth,
            )
            self._shows_motion = False
            self._hide_at = time.monotonic() + _HIDE_DELAY
            self._last_error = ""
        self.client.flush()
        return True

    def seconds_until_due(self, now: float) -> float | None:
        """Until `tick` or the schedule has something to do; None: not before a message comes."""
        with self.lock:
            due = self.schedule.seconds_until_due(now)
            if self._hide_at is None:
                return due
            hide = max(0.0, self._hide_at - now)
            return hide if due is None else min(due, hide)

    def tick(self, now: float) -> None:
        """Hide the browser's own splats once the frame has had time to arrive."""
        with self.lock:
            if self._hide_at is not None and now >= self._hide_at:
                self._hide_at = None
                if not self._shows_motion:
                    self._splats.visible = False

    def set_browser_draws_motion(self, draws: bool) -> None:
        """Whether its own splats are to stand in while the camera moves."""
        with self.lock:
            self.schedule.browser_draws_motion = draws

    def hide_cameras(self, names: set[str]) -> None:
        """Hide the cameras drawn under these scene nodes, and show those hidden before.

        A browser among the cameras would see little but their pictures.
        """
        with self.lock:
            if self._ended:
                return
            for name in self._hidden_cameras.keys() - names:
                self._hidden_cameras.pop(name).remove()
            for name in names - self._hidden_cameras.keys():
                # A node of this client stands in for the server's node of the same name.
                self._hidden_cameras[name] = self.client.scene.add_frame(
                    name, show_axes=False, visible=False
                )

    def report(self, title: str, error: Exception) -> None:
        """Show an error in the browser, once until something else happens."""
        message = f"{type(error).__name__}: {error}"
        if message != self._last_error:
            self._last_error = message
            self.client.add_notification(title, message, color="red", auto_close_seconds=20)

    def fly_to(self, pose: ViewPose) -> None:
        """Move the browser's camera to `pose` within a moment; blocks meanwhile."""
        camera = self.client.camera
        start = (camera.position.copy(), camera.look_at.copy(), camera.up_direction.copy())
        end = (pose.position.numpy(), pose.look_at.numpy(), -pose.camtoworld[:3, 1].numpy())
        start_fov = camera.fov
        for step in range(1, _FLIGHT_STEPS + 1):
            t = step / _FLIGHT_STEPS
            t = t * t * (3 - 2 * t)  # starts and ends gently
            position, look_at, up = ((1 - t) * a + t * b for a, b in zip(start, end, strict=True))
            self._set_camera(position, look_at, up, (1 - t) * start_fov + t * pose.fov_y)
            time.sleep(_FLIGHT_SECONDS / _FLIGHT_STEPS)

    def jump_to(self, pose: ViewPose) -> None:
        """Put the browser's camera at `pose` at once."""
        up = -pose.camtoworld[:3, 1].numpy()
        self._set_camera(pose.position.numpy(), pose.look_at.numpy(), up, pose.fov_y)

    def _set_camera(
        self, position: np.ndarray, look_at: np.ndarray, up: np.ndarray, fov_y: float
    ) -> None:
        with self.client.atomic():
            self.client.camera.up_direction = up
            self.client.camera.position = position
            self.client.camera.look_at = look_at
            self.client.camera.fov = fov_y
        self.client.flush()

    def _show_motion(self) -> None:
        """Let the browser draw its own splats over a plain background."""
        self._shows_motion = True
        self._hide_at = None
        self._splats.visible = True
        pixel = np.full((2, 2, 3), self.background, dtype=np.uint8)
        self.client.scene.set_background_image(pixel, format="png")
