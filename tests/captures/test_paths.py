"""Camera paths: continuity, what they look at, JSON files, and videos of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from captures import Cameras
from captures.colormaps import depth_limits, turbo
from captures.path_file import read_path, write_path
from captures.paths import (
    cameras_around,
    find_focus,
    interpolate_cameras,
    interpolate_path,
    look_at,
    orbit_path,
    spiral_path,
)
from captures.rotations import quats_to_rotmats
from captures.video import write_frames, write_video

UP = torch.tensor([0.0, 0.6, -0.8], dtype=torch.float64)
CENTER = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def ring(count: int = 12, *, arc: float = 2 * math.pi, noise: float = 0.0) -> Cameras:
    """Cameras around CENTER at radius 3 and height 1 above it, all looking at it."""
    east = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    north = torch.linalg.cross(UP, east)
    angles = torch.arange(count, dtype=torch.float64) / count * arc
    positions = CENTER + 3 * (angles.cos()[:, None] * east + angles.sin()[:, None] * north) + UP
    torch.manual_seed(1)
    positions = positions + noise * torch.randn_like(positions)
    K = torch.tensor([[80.0, 0, 33], [0, 80, 24], [0, 0, 1]], dtype=torch.float64)
    return Cameras(look_at(positions, CENTER, UP), K.repeat(count, 1, 1), 65, 49)


def steps(cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances and rotation angles between successive cameras."""
    moves = cameras.positions[1:] - cameras.positions[:-1]
    relative = cameras.viewmats[1:, :3, :3] @ cameras.viewmats[:-1, :3, :3].mT
    cosines = (relative.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    return moves.norm(dim=1), cosines.clamp(-1, 1).acos()


def test_look_at_puts_the_target_in_the_middle_with_up_upwards():
    cameras = ring(7, noise=0.5)
    rotations = cameras.viewmats[:, :3, :3]
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).double().expand(7, 3, 3))
    assert torch.linalg.det(rotations).min() > 0.999
    seen = (rotations @ CENTER) + cameras.viewmats[:, :3, 3]
    torch.testing.assert_close(seen[:, :2], torch.zeros(7, 2).double())
    assert (seen[:, 2] > 0).all()
    assert ((rotations @ UP)[:, 1] < 0).all()  # the image's y axis points down


def test_look_at_straight_down_is_still_a_rotation():
    rotation = look_at((CENTER + UP)[None], CENTER, UP)[0, :3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3).double())


def test_focus_is_where_the_axes_meet():
    focus = find_focus(ring())
    torch.testing.assert_close(focus.center, CENTER, atol=1e-2, rtol=0)
    torch.testing.assert_close(focus.up, UP, atol=1e-6, rtol=0)


def test_focus_of_parallel_cameras_lies_ahead():
    positions = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    viewmats = torch.eye(4).double().repeat(3, 1, 1)
    viewmats[:, :3, 3] = -positions
    cameras = Cameras(viewmats, torch.eye(3).double().repeat(3, 1, 1), 4, 4)
    assert find_focus(cameras).center[2] > 0.1


def test_orbit_is_an_even_circle_around_the_focus():
    path = orbit_path(ring(), 60)
    distances = (path.positions - CENTER).norm(dim=1)
    torch.testing.assert_close(distances, distances.mean().expand(60), rtol=2e-2, atol=0)
    moves, turns = steps(path)
    torch.testing.assert_close(moves, moves[:1].expand(59), rtol=1e-6, atol=0)
    closing = (path.positions[0] - path.positions[-1]).norm()
    torch.testing.assert_close(closing, moves[0])
    assert float(turns.max()) < 2 * math.pi / 60 * 1.01


def test_orbit_of_a_one_sided_capture_stays_on_that_side():
    cameras = ring(9, arc=math.pi / 2)
    path = orbit_path(cameras, 48)
    nearest = torch.cdist(path.positions, cameras.positions).min(dim=1).values
    assert float(nearest.max()) < 1.0
    moves, _ = steps(path)
    assert float(moves.max()) < 0.35


@pytest.mark.parametrize("make", [orbit_path, spiral_path])
def test_closed_paths_look_at_the_focus_and_halve_their_steps(make):
    cameras = ring(10, noise=0.1)
    focus = find_focus(cameras).center
    coarse, fine = make(cameras, 50), make(cameras, 100)
    for path in (coarse, fine):
        seen = path.viewmats[:, :3, :3] @ focus + path.viewmats[:, :3, 3]
        torch.testing.assert_close(seen[:, :2], torch.zeros_like(seen[:, :2]))
    assert float(steps(fine)[0].max()) < 0.55 * float(steps(coarse)[0].max())
    torch.testing.assert_close(fine.viewmats[::2], coarse.viewmats)


def test_interpolation_passes_through_the_cameras():
    cameras = ring(6, noise=0.4)
    times = torch.tensor([0.0, 1.0, 1.5, 4.0, 4.5, 6.0], dtype=torch.float64)
    result = interpolate_cameras(cameras, times, times)
    torch.testing.assert_close(result.viewmats, cameras.viewmats)
    torch.testing.assert_close(result.Ks, cameras.Ks)


def test_interpolation_has_a_continuous_velocity():
    path = interpolate_path(ring(6, noise=0.4), 4001)
    velocity = path.positions[1:] - path.positions[:-1]
    jumps = (velocity[1:] - velocity[:-1]).norm(dim=1)
    assert float(jumps.max()) < 0.02 * float(velocity.norm(dim=1).mean())
    rotations = path.viewmats[:, :3, :3]
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).double().expand(4001, 3, 3))
    assert float(steps(path)[1].max()) < 0.01


def test_interpolated_rotation_about_one_axis_keeps_the_axis_and_takes_the_short_way():
    quats = torch.tensor([[1.0, 0, 0, 0], [-math.cos(0.5), 0, 0, -math.sin(0.5)]]).double()
    camtoworlds = torch.eye(4).double().repeat(2, 1, 1)
    camtoworlds[:, :3, :3] = quats_to_rotmats(quats)
    Ks = torch.eye(3).double().repeat(2, 1, 1)
    cameras = Cameras(torch.linalg.inv(camtoworlds), Ks, 4, 4)
    ends = torch.tensor([0.0, 1.0]).double()
    middle = interpolate_cameras(cameras, ends, torch.tensor([0.5]).double())
    half = quats_to_rotmats(torch.tensor([math.cos(0.25), 0, 0, math.sin(0.25)]).double())
    torch.testing.assert_close(middle.camtoworlds[0, :3, :3], half)


def test_cameras_around_see_every_corner():
    bounds = torch.tensor([[-1.0, 2.0, -3.0], [0.5, 2.5, 4.0]])
    cameras = cameras_around(bounds, width=64, height=36)
    corners = torch.cartesian_prod(*bounds.T.double().unbind())
    local = torch.einsum("cij,pj->cpi", cameras.viewmats[:, :3, :3], corners)
    local = local + cameras.viewmats[:, None, :3, 3]
    pixels = torch.einsum("cij,cpj->cpi", cameras.Ks, local)
    pixels = pixels[..., :2] / pixels[..., 2:]
    assert (local[..., 2] > 0).all()
    assert (pixels >= 0).all() and (pixels <= torch.tensor([64, 36])).all()


def test_path_file_round_trip(tmp_path):
    path = orbit_path(ring(), 10)
    write_path(tmp_path / "path.json", path, fps=24.0)
    again = read_path(tmp_path / "path.json", width=path.width, height=path.height)
    assert again.fps == 24
    torch.testing.assert_close(again.cameras.viewmats, path.viewmats)
    torch.testing.assert_close(again.cameras.Ks, path.Ks)


def test_keyframes_are_sampled_at_the_frame_rate(tmp_path):
    cameras = ring(3)
    entries = [
        {"time": time, "fov_y_deg": 40, "camtoworld": matrix.tolist()}
        for time, matrix in zip((1.0, 2.0, 4.0), cameras.camtoworlds, strict=True)
    ]
    (tmp_path / "p.json").write_text(json.dumps({"version": 1, "fps": 10, "keyframes": entries}))
    result = read_path(tmp_path / "p.json", width=20, height=20)
    assert len(result.cameras) == 31
    torch.testing.assert_close(result.cameras.viewmats[[0, 10, 30]], cameras.viewmats)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", '"version": 1'),
        ('{"version": 2}', '"version": 1'),
        ('{"version": 1, "frames": []}', "non-empty list"),
        ('{"version": 1, "frames": [3]}', r"frames\[0\]` must be an object"),
        ('{"version": 1, "fps": 0, "frames": [{}]}', "`fps` must be a number"),
        ('{"version": 1, "frames": [{"camtoworld": [[1]]}]}', r"frames\[0\].camtoworld` must be"),
    ],
)
def test_malformed_path_files_say_where(tmp_path, content, message):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_path(tmp_path / "bad.json", width=4, height=4)
    assert "bad.json" in str(caught.value)


def test_scaled_matrices_are_refused(tmp_path):
    matrix = (2 * torch.eye(4)).tolist()
    entry = {"camtoworld": matrix, "fov_y_deg": 40}
    (tmp_path / "p.json").write_text(json.dumps({"version": 1, "frames": [entry]}))
    with pytest.raises(ValueError, match="without scale"):
        read_path(tmp_path / "p.json", width=4, height=4)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 49)])
def test_video_decodes_to_the_frames(tmp_path, width, height):
    av = pytest.importorskip("av")
    ramp = np.linspace(0, 200, width, dtype=np.uint8)[None, :, None]
    frames = [np.broadcast_to(ramp + 5 * i, (height, width, 3)).copy() for i in range(7)]
    path = tmp_path / "clip.mp4"
    assert write_video(path, iter(frames), fps=12.0) == 7
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == 12
        decoded = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(decoded) == 7
    for frame, result in zip(frames, decoded, strict=True):
        error = result[:height, :width].astype(float) - frame
        assert abs(error).mean() < 4  # limited-range YUV; the worst seen was 1.9
    with pytest.raises(FileExistsError):
        write_video(path, iter(frames))
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "none.mp4", iter(()))
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_frames_are_exact(tmp_path):
    from PIL import Image

    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    write_frames(tmp_path / "frames", list(frames))
    loaded = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "frames").iterdir())]
    assert (np.stack(loaded) == frames).all()
    with pytest.raises(FileExistsError):
        write_frames(tmp_path / "frames", list(frames))


def test_turbo_agrees_with_matplotlib():
    colormaps = pytest.importorskip("matplotlib").colormaps
    values = torch.linspace(0, 1, 256)
    table = torch.tensor(colormaps["turbo"](values.numpy())[:, :3]).float()
    errors = (turbo(values) - table).abs()
    assert float(errors.mean()) < 0.03  # the polynomial is off by up to 0.13 at the dark ends
    assert float(errors[16:-16].max()) < 0.1


def test_depth_limits_ignore_what_is_not_covered():
    depth = torch.linspace(1, 2, 100).view(10, 10)
    depth[0, :5] = 0
    alpha = torch.ones(10, 10)
    alpha[0, :5] = 0
    low, high = depth_limits(depth, alpha)
    assert 1 < low < 1.1 and 1.9 < high < 2
    assert depth_limits(depth, torch.zeros(10, 10)) == (0.0, 1.0)
