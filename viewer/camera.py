"""Browser cameras to `Cameras` and back, and where a viewer should look from first.

A browser camera has a vertical field of view, square pixels and its principal point in the middle
of the canvas. Poses are OpenCV camera-to-world, as everywhere in the project.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from captures import Cameras, Capture, ensure_shape
from captures.paths import find_focus, look_at
from captures.rotations import quats_to_rotmats, rotmats_to_quats

DEFAULT_FOV = math.radians(50)
"""Vertical field of view of scenes that come without cameras."""


@dataclass(frozen=True)
class ViewPose:
    """Where one browser looks from."""

    camtoworld: Float[Tensor, "4 4"]
    """Camera-to-world, OpenCV axes, float64."""
    fov_y: float
    """Vertical field of view in radians, in (0, pi)."""
    look_at: Float[Tensor, "3"]
    """World point that the browser orbits around, in front of the camera."""

    def __post_init__(self) -> None:
        ensure_shape("camtoworld", self.camtoworld, (4, 4), "append the row 0 0 0 1.")
        if not 0 < self.fov_y < math.pi:
            raise ValueError(f"`fov_y` must lie in (0, pi) radians, got {self.fov_y}.")

    @property
    def position(self) -> Float[Tensor, "3"]:
        """Camera center in the world."""
        return self.camtoworld[:3, 3]

    @property
    def wxyz(self) -> Float[Tensor, "4"]:
        """Rotation camera to world as a unit quaternion (w, x, y, z)."""
        return rotmats_to_quats(self.camtoworld[:3, :3])

    def cameras(self, width: int, height: int) -> Cameras:
        """One pinhole camera on a canvas of that size in pixels."""
        focal = 0.5 * height / math.tan(0.5 * self.fov_y)
        K = torch.tensor(
            [[focal, 0, 0.5 * width], [0, focal, 0.5 * height], [0, 0, 1]], dtype=torch.float64
        )
        return Cameras(torch.linalg.inv(self.camtoworld)[None], K[None], width, height)

    def is_close_to(self, other: ViewPose) -> bool:
        """Whether both would give the same picture up to rounding in the browser's messages."""
        return abs(self.fov_y - other.fov_y) < 1e-6 and torch.allclose(
            self.camtoworld, other.camtoworld, rtol=1e-6, atol=1e-6
        )


def pose_from_browser(
    wxyz: Float[Tensor, "4"],
    position: Float[Tensor, "3"],
    fov_y: float,
    look_at: Float[Tensor, "3"],
) -> ViewPose:
    """The pose that a browser reports: rotation camera to world and center, OpenCV axes."""
    camtoworld = torch.eye(4, dtype=torch.float64)
    camtoworld[:3, :3] = quats_to_rotmats(wxyz.double())
    camtoworld[:3, 3] = position.double()
    return ViewPose(camtoworld, fov_y, look_at.double())


def crop_rows(cameras: Cameras, top: int, bottom: int) -> Cameras:
    """The same cameras, seeing only the pixel rows top <= row < bottom."""
    Ks = cameras.Ks.clone()
    Ks[:, 1, 2] -= top
    return Cameras(cameras.viewmats, Ks, cameras.width, bottom - top, cameras.model)


def up_direction(cameras: Cameras) -> Float[Tensor, "3"]:
    """Unit mean of the cameras' own up directions (-y), or world -y where they cancel out."""
    mean = -cameras.camtoworlds[:, :3, 1].mean(0)
    if mean.norm() < 0.1:  # cameras that hang every way up name no direction
        return torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
    return mean / mean.norm()


def pose_of_camera(cameras: Cameras, index: int, focus: Float[Tensor, "3"]) -> ViewPose:
    """The pose of one camera of a capture.

    The browser orbits around the point on the optical axis that is as deep as `focus`, or one
    unit deep where `focus` lies behind the camera.
    """
    camtoworld = torch.linalg.inv(cameras.viewmats[index])
    forward = camtoworld[:3, 2]
    depth = float((focus - camtoworld[:3, 3]) @ forward)
    if depth <= 1e-6:
        depth = max(float((focus - camtoworld[:3, 3]).norm()), 1.0)
    _, height = cameras.size(index)
    fov_y = 2 * math.atan(0.5 * height / float(cameras.Ks[index, 1, 1]))
    return ViewPose(camtoworld, fov_y, camtoworld[:3, 3] + depth * forward)


def pose_on_bounds(
    bounds: Float[Tensor, "2 3"], up: Float[Tensor, "3"], fov_y: float = DEFAULT_FOV
) -> ViewPose:
    """A pose from slightly above that holds the sphere around the box `bounds` in view."""
    corners = bounds.double()
    center = corners.mean(0)
    radius = max(0.5 * float((corners[1] - corners[0]).norm()), 1e-3)
    up = up.double() / up.double().norm()
    least = torch.eye(3, dtype=torch.float64)[int(up.abs().argmin())]
    back = torch.linalg.cross(up, least)  # any horizontal direction
    back = back / back.norm() + 0.35 * up
    position = center + back / back.norm() * radius / math.sin(0.5 * fov_y)
    return look_at_pose(position, center, up, fov_y)


def look_at_pose(
    position: Float[Tensor, "3"], target: Float[Tensor, "3"], up: Float[Tensor, "3"], fov_y: float
) -> ViewPose:
    """A level camera at `position` looking at `target`."""
    viewmat = look_at(position[None], target, up)[0]
    return ViewPose(torch.linalg.inv(viewmat), fov_y, target)


def initial_pose(
    capture: Capture | None, bounds: Float[Tensor, "2 3"], up: Float[Tensor, "3"]
) -> ViewPose:
    """The first training camera, or a view on `bounds` where there are no cameras."""
    if capture is None or len(capture) == 0:
        return pose_on_bounds(bounds, up)
    first = capture.train[0] if capture.train else 0
    return pose_of_camera(capture.cameras, first, find_focus(capture.cameras).center)


def nearest_camera(cameras: Cameras, pose: ViewPose, *, turn_weight: float) -> int:
    """Index of the camera that sees most nearly what `pose` sees.

    Args:
        cameras: At least one.
        pose: The browser's pose.
        turn_weight: World units that a turn of the optical axis by one radian counts for.
    """
    distances = (cameras.positions - pose.position).norm(dim=1)
    cosines = cameras.camtoworlds[:, :3, 2] @ pose.camtoworld[:3, 2]
    return int((distances + turn_weight * torch.acos(cosines.clamp(-1, 1))).argmin())
