"""Poses, strips, comparison and browser splats against exact pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from scenes import RaySphere

from captures import Cameras
from captures.path_file import read_path
from splats.gaussians import Gaussians
from viewer.browser_splats import browser_splats
from viewer.camera import (
    look_at_pose,
    nearest_camera,
    pose_from_browser,
    pose_of_camera,
    pose_on_bounds,
    up_direction,
)
from viewer.compare import compose, photo_as_seen
from viewer.frames import render_in_strips
from viewer.keyframes import KeyframeRecorder
from viewer.live import snapshot

UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
POSE = look_at_pose(torch.tensor([2.0, 1, 3]).double(), torch.zeros(3).double(), UP, 0.8)


def test_browser_pose_round_trip() -> None:
    again = pose_from_browser(POSE.wxyz, POSE.position, POSE.fov_y, POSE.look_at)
    assert again.is_close_to(POSE)
    cameras = POSE.cameras(64, 48)
    camera = pose_of_camera(cameras, 0, torch.zeros(3).double())
    assert camera.is_close_to(POSE)
    torch.testing.assert_close(camera.look_at, POSE.look_at, atol=1e-9, rtol=0)


def test_up_of_level_cameras_is_up() -> None:
    center = torch.zeros(3).double()
    poses = []
    for angle in torch.arange(6).double():
        position = torch.stack([3 * angle.cos(), 3 * angle.sin(), torch.ones(()).double()])
        poses.append(look_at_pose(position, center, UP, 1.0))
    views = [pose.cameras(4, 4) for pose in poses]
    cameras = Cameras(
        torch.cat([view.viewmats for view in views]), torch.cat([view.Ks for view in views]), 4, 4
    )
    assert float(up_direction(cameras) @ UP) > 0.9
    assert nearest_camera(cameras, poses[4], turn_weight=1.0) == 4


def test_framed_bounds_fill_the_view() -> None:
    corners = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    pose = pose_on_bounds(corners, UP)
    hit = RaySphere().render(pose.cameras(64, 64)).alpha
    assert hit is not None
    assert 0.2 < float(hit.mean()) < 0.6
    assert float(hit[0, 0].max() + hit[0, :, 0].max()) == 0  # nothing is cut off


def test_strips_join_to_the_same_picture() -> None:
    scene, cameras = RaySphere(), POSE.cameras(50, 37)
    black = torch.zeros(3)
    whole = scene.render(cameras, background=black).rgb
    parts = render_in_strips(scene, cameras, channels=("rgb",), background=black, strips=5)
    assert whole is not None and parts is not None and parts.rgb is not None
    torch.testing.assert_close(parts.rgb, whole, atol=1e-6, rtol=0)
    stopped = render_in_strips(
        scene, cameras, channels=("rgb",), background=black, strips=5, keep_going=lambda: False
    )
    assert stopped is None


def test_turned_photo_equals_turned_render() -> None:
    turned = look_at_pose(POSE.position, torch.tensor([0.2, -0.1, 0.1]).double(), UP, 0.7)
    scene, photo_camera, view_camera = RaySphere(), POSE.cameras(200, 160), turned.cameras(120, 90)
    photo, view = scene.render(photo_camera).rgb, scene.render(view_camera).rgb
    assert photo is not None and view is not None
    seen, inside = photo_as_seen(photo[0], photo_camera, view_camera)
    error = (seen - view[0]).abs().amax(-1)[inside]
    assert inside.float().mean() > 0.7
    assert error.quantile(0.9) < 0.02  # the silhouette is blurred by resampling
    joined = compose("Slider", view[0], seen, inside, edge=0.0)
    torch.testing.assert_close(joined[:, 2:], view[0][:, 2:])


def test_browser_splats_keep_small_scenes_and_the_largest_splats() -> None:
    generator = torch.Generator().manual_seed(0)
    num = 50
    gaussians = Gaussians(
        torch.randn(num, 3, generator=generator) * 1e-4,
        torch.randn(num, 4, generator=generator),
        torch.full((num, 3), math.log(1e-6)) + torch.rand(num, 3, generator=generator),
        torch.zeros(num),
        torch.zeros(num, 1, 3),
        torch.zeros(num, 0, 3),
    )
    splats = browser_splats(gaussians)
    halves = torch.from_numpy(splats.covariances).half().double() * splats.unit**2
    exact = (gaussians.log_scales.double() * 2).exp().sum(1)
    torch.testing.assert_close(
        halves.diagonal(dim1=1, dim2=2).sum(1), exact, rtol=2e-3, atol=0
    )  # the trace is the sum of squared scales
    assert len(browser_splats(gaussians, max_count=7).centers) == 7


def test_recorded_path_is_read_by_the_renderer(tmp_path: Path) -> None:
    recorder = KeyframeRecorder()
    other = look_at_pose(torch.tensor([3.0, 0, 1]).double(), torch.zeros(3).double(), UP, 0.8)
    recorder.poses += [POSE, other]
    file = tmp_path / "path.json"
    file.write_bytes(recorder.to_json(seconds_per_keyframe=1.0, fps=10.0))
    path = read_path(file, width=64, height=48)
    assert len(path.cameras) == 11 and json.loads(file.read_text())["version"] == 1
    torch.testing.assert_close(path.cameras.viewmats[0], POSE.cameras(64, 48).viewmats[0])
    torch.testing.assert_close(path.cameras.Ks[-1], other.cameras(64, 48).Ks[0])
    assert len(recorder.interpolated(5)) == 5


def test_snapshot_survives_in_place_training() -> None:
    from splats.scene import SplatScene

    means = torch.zeros(1, 3)
    rest = (torch.ones(1, 4), torch.zeros(1, 3), torch.zeros(1), torch.zeros(1, 1, 3))
    scene = SplatScene(Gaussians(means, *rest, torch.zeros(1, 0, 3)))
    copy = snapshot(scene)
    means += 1
    assert float(copy.gaussians.means.sum()) == 0
