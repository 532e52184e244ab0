"""The cameras and sparse points of a capture, drawn in the scene."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from captures import Capture
from captures.paths import find_focus

from .camera import ViewPose, pose_of_camera
from .frames import to_bytes

if TYPE_CHECKING:
    import viser

CAMERAS_NODE = "/cameras"
POINTS_NODE = "/points"
MAX_CAMERAS = 300
"""More frusta hide the scene; of larger captures an even choice is drawn."""
_THUMBNAIL = 96  # longest side, pixels
_TRAIN_COLOR = (255, 140, 0)
_TEST_COLOR = (30, 144, 255)

logger = logging.getLogger(__name__)


class CaptureLayer:
    """Frusta with pictures (orange: training, blue: held out) and points, for all browsers."""

    def __init__(
        self,
        server: viser.ViserServer,
        capture: Capture,
        on_click: Callable[[viser.ClientHandle, ViewPose], None],
    ) -> None:
        self.capture = capture
        """What is drawn."""
        self._focus = find_focus(capture.cameras).center
        self._size = _frustum_size(capture)
        self._server = server
        self._on_click = on_click
        self._root = server.scene.add_frame(CAMERAS_NODE, show_axes=False)
        step = math.ceil(len(capture) / MAX_CAMERAS)
        self._frusta = {index: self._add(index) for index in range(0, len(capture), step)}
        self._points = self._add_points()
        self._thumbnails: threading.Thread | None = None
        self._closed = False

    def pose(self, index: int) -> ViewPose:
        """Where camera `index` of the capture looks from."""
        return pose_of_camera(self.capture.cameras, index, self._focus)

    def node(self, index: int) -> str | None:
        """Scene node of a camera, None where it is not drawn."""
        return self._frusta[index].name if index in self._frusta else None

    def load_thumbnails(self) -> None:
        """Put the pictures on the frusta, on a thread; once."""
        if self._thumbnails is None:
            self._thumbnails = threading.Thread(target=self._load, daemon=True)
            self._thumbnails.start()

    def show(self, *, cameras: bool, points: bool) -> None:
        """What of it is visible."""
        self._root.visible = cameras
        if self._points is not None:
            self._points.visible = points

    def close(self) -> None:
        """Stop decoding pictures."""
        self._closed = True

    def _add(self, index: int) -> viser.CameraFrustumHandle:
        cameras, pose = self.capture.cameras, self.pose(index)
        width, height = cameras.size(index)
        frustum = self._server.scene.add_camera_frustum(
            f"{CAMERAS_NODE}/{index:05d}",
            pose.fov_y,
            width / height,
            scale=self._size,
            thickness=1.5,
            thickness_units="screen",
            color=_TEST_COLOR if index in self.capture.test else _TRAIN_COLOR,
            wxyz=pose.wxyz.numpy(),
            position=pose.position.numpy(),
            cast_shadow=False,
            receive_shadow=False,
        )
        frustum.on_click(lambda event: self._on_click(event.client, pose))
        return frustum

    def _add_points(self) -> viser.PointCloudHandle | None:
        points = self.capture.points
        if points is None or len(points.positions) == 0:
            return None
        return self._server.scene.add_point_cloud(
            POINTS_NODE,
            points.positions.numpy(),
            to_bytes(points.colors[None])[0],
            point_size=0.004 * self.capture.extent,
            precision="float32",
            point_shading="flat",
            visible=False,
        )

    def _load(self) -> None:
        for index, frustum in self._frusta.items():
            if self._closed:
                return
            try:
                image = self.capture.view(index).over(torch.ones(3)).permute(2, 0, 1)[None]
                shrink = min(1.0, _THUMBNAIL / max(image.shape[2:]))
                size = [max(1, round(shrink * side)) for side in image.shape[2:]]
                small = functional.interpolate(image, size, mode="area")[0].permute(1, 2, 0)
                frustum.image = to_bytes(small)
            except (OSError, ValueError) as error:
                logger.warning("No picture for camera %d: %s", index, error)


def _frustum_size(capture: Capture) -> float:
    """Depth of a drawn camera, world units: about its distance to the next one."""
    positions = capture.cameras.positions
    distances = torch.cdist(positions, positions).fill_diagonal_(torch.inf)
    spacing = float(distances.amin(dim=1).median())
    extent = capture.extent or 1.0
    return min(max(0.5 * spacing, 0.01 * extent), 0.04 * extent)
