"""Camera paths: orbit, spiral and a smooth flight through given cameras.

Every function returns pinhole cameras in the frame of the cameras or bounds it was given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .cameras import Cameras
from .rotations import quats_to_rotmats, rotmats_to_quats

_WIDEST_GAP = math.radians(120)
"""Cameras that leave more than this of the circle unseen are not orbited all the way round."""


@dataclass(frozen=True)
class Focus:
    """What a set of cameras looks at."""

    center: Float[Tensor, "3"]
    """The point closest to all optical axes, world units, float64."""
    up: Float[Tensor, "3"]
    """Mean up direction of the cameras, unit length, float64."""


def find_focus(cameras: Cameras) -> Focus:
    """Where the optical axes meet in the least-squares sense, and which way is up.

    The sum of squared distances from x to the axes (o_i, d_i) has its minimum where
    sum_i (I - d_i d_i^T) (x - o_i) = 0. A small pull towards the point that lies one camera
    spread ahead of the mean camera keeps parallel axes solvable. A focus behind most cameras,
    as when they look outwards, is replaced by that point.
    """
    camtoworlds = cameras.camtoworlds.double()
    origins, forwards = camtoworlds[:, :3, 3], camtoworlds[:, :3, 2]
    up = _unit(-camtoworlds[:, :3, 1].mean(0), fallback=-camtoworlds[0, :3, 1])
    spread = float((origins - origins.mean(0)).norm(dim=1).mean()) or 1.0
    ahead = origins.mean(0) + spread * _unit(forwards.mean(0), fallback=forwards[0])
    weight = 1e-3
    eye = torch.eye(3, dtype=torch.float64)
    projectors = eye - forwards[:, :, None] * forwards[:, None, :]
    matrix = projectors.mean(0) + weight * eye
    target = (projectors @ origins[:, :, None])[..., 0].mean(0) + weight * ahead
    center = torch.linalg.solve(matrix, target)
    depths = ((center - origins) * forwards).sum(1)
    return Focus(center if depths.median() > 0 else ahead, up)


def look_at(
    positions: Float[Tensor, "F 3"], target: Float[Tensor, "3"], up: Float[Tensor, "3"]
) -> Float[Tensor, "F 4 4"]:
    """World-to-camera matrices (OpenCV axes) of cameras at `positions` that look at `target`.

    Where the direction of view is parallel to `up`, another axis decides the roll.
    """
    forward = target - positions
    distance = forward.norm(dim=1, keepdim=True)
    if bool((distance == 0).any()):
        raise ValueError("`positions` must differ from `target`, got a camera at the target.")
    forward = forward / distance
    spare = torch.eye(3, dtype=positions.dtype)[int(up.abs().argmin())]
    right = torch.linalg.cross(forward, up.expand_as(forward))
    other = torch.linalg.cross(forward, spare.expand_as(forward))
    right = torch.where(right.norm(dim=1, keepdim=True) > 1e-9, right, other)
    right = right / right.norm(dim=1, keepdim=True)
    down = torch.linalg.cross(forward, right)
    rotations = torch.stack([right, down, forward], dim=1)
    viewmats = torch.eye(4, dtype=positions.dtype).repeat(len(positions), 1, 1)
    viewmats[:, :3, :3] = rotations
    viewmats[:, :3, 3] = -(rotations @ positions[:, :, None])[..., 0]
    return viewmats


def orbit_path(cameras: Cameras, num_frames: int) -> Cameras:
    """A closed loop around the focus of `cameras` at their mean height and distance.

    Cameras that stand on one side only are not left for views that nobody took: where they leave
    more than 120 degrees of the circle empty, the path swings to and fro over the part they cover.
    """
    _require_frames(num_frames)
    focus = find_focus(cameras)
    offsets = cameras.positions.double() - focus.center
    east, north = _horizontal_axes(focus.up)
    heights = offsets @ focus.up
    flat = torch.stack([offsets @ east, offsets @ north], dim=1)
    start, sweep = _covered_arc(torch.atan2(flat[:, 1], flat[:, 0]))
    turn = torch.arange(num_frames, dtype=torch.float64) / num_frames * 2 * math.pi
    azimuths = start + turn
    if sweep < 2 * math.pi:
        azimuths = start + sweep * (0.5 - 0.5 * turn.cos())
    radius = float(flat.norm(dim=1).mean()) or float(offsets.norm(dim=1).mean()) or 1.0
    circle = azimuths.cos()[:, None] * east + azimuths.sin()[:, None] * north
    positions = focus.center + radius * circle + heights.mean() * focus.up
    return _with_mean_lens(cameras, look_at(positions, focus.center, focus.up))


def spiral_path(cameras: Cameras, num_frames: int, *, num_turns: int = 2) -> Cameras:
    """A closed spiral about the mean camera that keeps looking at the focus.

    Its half-axes are a third of the spread of the cameras along the mean camera's own axes, so
    that it stays between them. After the paths of LLFF (Mildenhall et al., 2019).
    """
    _require_frames(num_frames)
    focus = find_focus(cameras)
    positions = cameras.positions.double()
    middle = positions.mean(0)
    forward = _unit(focus.center - middle, fallback=focus.up)
    right = _unit(torch.linalg.cross(forward, focus.up), fallback=_horizontal_axes(focus.up)[0])
    axes = torch.stack([right, torch.linalg.cross(forward, right), forward])
    distance = float((focus.center - middle).norm())
    reach = ((positions - middle) @ axes.T).abs().quantile(0.9, dim=0) / 3
    reach = reach.clamp(min=0.02 * distance, max=0.5 * distance)
    turn = torch.arange(num_frames, dtype=torch.float64) / num_frames * 2 * math.pi
    wave = torch.stack([(num_turns * turn).cos(), (num_turns * turn).sin(), turn.sin()], dim=1)
    return _with_mean_lens(cameras, look_at(middle + (wave * reach) @ axes, focus.center, focus.up))


def interpolate_path(cameras: Cameras, num_frames: int) -> Cameras:
    """A flight through every camera in order, at an even pace.

    Time between two cameras is in proportion to their distance plus, per radian of turn, half
    the mean distance between neighbours.
    """
    _require_frames(num_frames)
    if len(cameras) < 2:
        raise ValueError(
            f"`cameras` must hold at least 2 for a path through them, got {len(cameras)}."
        )
    positions = cameras.positions.double()
    quats = _aligned(rotmats_to_quats(cameras.camtoworlds[:, :3, :3].double()))
    gaps = (positions[1:] - positions[:-1]).norm(dim=1)
    turns = 2 * (quats[1:] * quats[:-1]).sum(1).clamp(-1, 1).acos()
    spacing = float(gaps.mean()) or 1.0
    times = torch.cat([gaps.new_zeros(1), (gaps + 0.5 * spacing * turns).clamp(min=1e-9).cumsum(0)])
    at = torch.linspace(0, 1, num_frames, dtype=torch.float64) * times[-1]
    return interpolate_cameras(cameras, times, at)


def interpolate_cameras(
    cameras: Cameras, times: Float[Tensor, "C"], at: Float[Tensor, "F"]
) -> Cameras:
    """Cameras at the times `at` on a smooth curve through `cameras` at `times`.

    Positions, intrinsics and quaternions (signs aligned, renormalised afterwards) follow one
    cubic Hermite spline with Catmull-Rom tangents, so the motion has a continuous velocity.

    Args:
        cameras: Two or more.
        times: Strictly increasing.
        at: Within the range of `times`; clamped to it.
    """
    if not bool((times[1:] > times[:-1]).all()):
        raise ValueError("`times` must increase strictly; give every keyframe a later time.")
    camtoworlds = cameras.camtoworlds.double()
    quats = _aligned(rotmats_to_quats(camtoworlds[:, :3, :3]))
    values = torch.cat([camtoworlds[:, :3, 3], quats, cameras.Ks.double().flatten(1)], dim=1)
    curve = _hermite(times.double(), values, at.double())
    result = torch.eye(4, dtype=torch.float64).repeat(len(at), 1, 1)
    result[:, :3, :3] = quats_to_rotmats(curve[:, 3:7])
    result[:, :3, 3] = curve[:, :3]
    return Cameras(
        viewmats=torch.linalg.inv(result),
        Ks=curve[:, 7:].unflatten(1, (3, 3)),
        width=cameras.width,
        height=cameras.height,
        model=cameras.model,
    )


def cameras_around(
    bounds: Float[Tensor, "2 3"], *, width: int, height: int, up: Float[Tensor, "3"] | None = None
) -> Cameras:
    """Eight cameras on a circle that see all of `bounds`, for scenes that come without cameras.

    Args:
        bounds: Corners (min, max), world units.
        width: Image width in pixels.
        height: Image height in pixels.
        up: Unit vector; -y where None, the up direction of captures with OpenCV axes.
    """
    low, high = bounds.double().cpu()
    center = (low + high) / 2
    up = torch.tensor([0.0, -1.0, 0.0]) if up is None else up
    up = up.double()
    focal = 1.2 * max(width, height)
    half_angle = math.atan(min(width, height) / 2 / focal)
    distance = (float((high - low).norm()) / 2 or 1.0) / math.sin(half_angle)
    east, north = _horizontal_axes(up)
    azimuths = torch.arange(8, dtype=torch.float64) * math.pi / 4
    ring = azimuths.cos()[:, None] * east + azimuths.sin()[:, None] * north
    elevation = math.radians(20)
    positions = center + distance * (math.cos(elevation) * ring + math.sin(elevation) * up)
    K = torch.tensor(
        [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64
    )
    return Cameras(look_at(positions, center, up), K.repeat(8, 1, 1), width, height)


def _hermite(
    times: Float[Tensor, "C"], values: Float[Tensor, "C D"], at: Float[Tensor, "F"]
) -> Float[Tensor, "F D"]:
    """Cubic Hermite spline; tangents are central differences, one-sided at the ends."""
    slopes = (values[1:] - values[:-1]) / (times[1:] - times[:-1])[:, None]
    spans = (times[1:] - times[:-1])[:, None]
    inner = (slopes[:-1] * spans[1:] + slopes[1:] * spans[:-1]) / (spans[1:] + spans[:-1])
    tangents = torch.cat([slopes[:1], inner, slopes[-1:]])
    index = (torch.searchsorted(times, at, right=True) - 1).clamp(0, len(times) - 2)
    span = spans[index]
    s = ((at - times[index])[:, None] / span).clamp(0, 1)
    return (
        (1 + 2 * s) * (1 - s) ** 2 * values[index]
        + s * (1 - s) ** 2 * span * tangents[index]
        + s**2 * (3 - 2 * s) * values[index + 1]
        + s**2 * (s - 1) * span * tangents[index + 1]
    )


def _aligned(quats: Float[Tensor, "C 4"]) -> Float[Tensor, "C 4"]:
    """The same rotations with signs such that neighbours lie on one hemisphere."""
    flips = torch.where((quats[1:] * quats[:-1]).sum(1) < 0, -1.0, 1.0).cumprod(0)
    return torch.cat([quats[:1], quats[1:] * flips[:, None]])


def _covered_arc(azimuths: Float[Tensor, "C"]) -> tuple[float, float]:
    """Start and length of the arc that holds all azimuths, the full circle if gaps are small."""
    ordered = azimuths.sort().values
    gaps = torch.cat([ordered[1:] - ordered[:-1], ordered[:1] + 2 * math.pi - ordered[-1:]])
    widest = int(gaps.argmax())
    if gaps[widest] <= _WIDEST_GAP or len(azimuths) == 1:
        return float(ordered[0]), 2 * math.pi
    return float(ordered[(widest + 1) % len(ordered)]), 2 * math.pi - float(gaps[widest])


def _horizontal_axes(up: Float[Tensor, "3"]) -> tuple[Tensor, Tensor]:
    """Two unit vectors that span the plane perpendicular to `up`."""
    spare = torch.eye(3, dtype=up.dtype)[int(up.abs().argmin())]
    east = _unit(torch.linalg.cross(up, spare), fallback=spare)
    return east, torch.linalg.cross(up, east)


def _with_mean_lens(cameras: Cameras, viewmats: Float[Tensor, "F 4 4"]) -> Cameras:
    """Pinhole cameras at `viewmats` with the mean focal length and a centred principal point."""
    K = cameras.Ks.double().mean(0)
    K[0, 2], K[1, 2] = cameras.width / 2, cameras.height / 2
    return Cameras(viewmats, K.repeat(len(viewmats), 1, 1), cameras.width, cameras.height)


def _unit(vector: Float[Tensor, "3"], *, fallback: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    length = float(vector.norm())
    return vector / length if length > 1e-9 else fallback / fallback.norm()


def _require_frames(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError(f"`num_frames` must be 1 or more, got {num_frames}.")
