"""JSON captures: nerfstudio, instant-ngp and Blender."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from captures import load_capture

SIZE = (16, 12)
CAMTOWORLD = [[1, 0, 0, 1.0], [0, 1, 0, 2.0], [0, 0, 1, 3.0], [0, 0, 0, 1]]


def make_scene(folder: Path, **top: Any) -> dict[str, Any]:
    """A nerfstudio folder of four images whose cameras differ by their x position."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    frames = []
    for index in range(4):
        Image.new("RGB", SIZE, (10 * index, 0, 0)).save(folder / f"images/{index}.png")
        pose = [row.copy() for row in CAMTOWORLD]
        pose[0][3] = float(index)
        frames.append({"file_path": f"images/{index}.png", "transform_matrix": pose})
    meta = {"fl_x": 20.0, "w": SIZE[0], "h": SIZE[1], "frames": frames, **top}
    write(folder, meta)
    return meta


def write(folder: Path, meta: dict[str, Any]) -> None:
    (folder / "transforms.json").write_text(json.dumps(meta))


def test_opengl_poses_become_opencv(tmp_path: Path) -> None:
    make_scene(tmp_path)
    cameras = load_capture(tmp_path, normalize=False).cameras
    # An OpenGL camera without rotation looks along -z with y up.
    ahead = cameras.viewmats[1] @ torch.tensor([1.0, 2.0, 3.0 - 5.0, 1.0], dtype=torch.float64)
    above = cameras.viewmats[1] @ torch.tensor([1.0, 2.0 + 1.0, 3.0, 1.0], dtype=torch.float64)
    assert ahead.tolist() == [0, 0, 5, 1]
    assert above.tolist() == [0, -1, 0, 1]
    assert cameras.Ks[0].tolist() == [[20, 0, 8], [0, 20, 6], [0, 0, 1]]


def test_frames_override_the_top_level(tmp_path: Path) -> None:
    meta = make_scene(tmp_path, cx=7.0, cy=5.0, fl_y=21.0)
    Image.new("RGB", (8, 20)).save(tmp_path / "images/2.png")
    meta["frames"][2] |= {"fl_x": 9.0, "fl_y": 9.5, "cx": 3.0, "cy": 11.0, "w": 8, "h": 20}
    write(tmp_path, meta)
    capture = load_capture(tmp_path)
    assert capture.cameras.Ks[2].tolist() == [[9, 0, 3], [0, 9.5, 11], [0, 0, 1]]
    assert capture.cameras.Ks[1].tolist() == [[20, 0, 7], [0, 21, 5], [0, 0, 1]]
    assert (capture.cameras.width, capture.cameras.height) == (16, 20)
    assert capture.cameras.size(2) == (8, 20) and capture.cameras.size(1) == SIZE
    assert capture.view(2).image.shape == (20, 8, 3)


def test_distortion_fields_reach_their_places(tmp_path: Path) -> None:
    values = {
        "k1": 0.1,
        "k2": 0.2,
        "p1": 0.3,
        "p2": 0.4,
        "k3": 0.5,
        "k4": 0.6,
        "k5": 0.7,
        "k6": 0.8,
    }
    make_scene(tmp_path, camera_model="OPENCV", **values)
    cameras = load_capture(tmp_path, undistort=False).cameras
    assert cameras.distortion is not None
    assert cameras.distortion[0].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    values = {"k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.4}
    make_scene(tmp_path, camera_model="OPENCV_FISHEYE", **values)
    cameras = load_capture(tmp_path, undistort=False).cameras
    assert cameras.model == "fisheye" and cameras.distortion is not None
    assert cameras.distortion[0].tolist() == [0.1, 0.2, 0.3, 0.4]
    undistorted = load_capture(tmp_path)
    assert undistorted.cameras.distortion is None and undistorted.cameras.model == "pinhole"
    assert "undistorted" in undistorted.resolution


def test_applied_transform_and_scale_are_undone(tmp_path: Path) -> None:
    applied = [[1, 0, 0, 0.5], [0, 0, 1, 0], [0, -1, 0, 0]]
    make_scene(tmp_path, applied_transform=applied, applied_scale=0.25)
    for normalize in (False, True):
        capture = load_capture(tmp_path, normalize=normalize)
        found = capture.T_source_capture.apply(capture.cameras.positions)
        matrix = torch.tensor(applied, dtype=torch.float64)
        in_file = 0.25 * (found @ matrix[:, :3].T + matrix[:, 3])
        expected = torch.tensor([[i, 2.0, 3.0] for i in range(4)], dtype=torch.float64)
        torch.testing.assert_close(in_file, expected)


def test_depths_and_points_share_the_cameras_frame(tmp_path: Path) -> None:
    meta = make_scene(tmp_path, ply_file_path="points.ply")
    depth = np.full((SIZE[1], SIZE[0]), 2500, dtype=np.uint16)
    depth[0, 0] = 0
    Image.fromarray(depth).save(tmp_path / "depth.png")
    np.save(tmp_path / "depth.npy", depth.astype(np.float32))
    meta["frames"][0]["depth_file_path"] = "depth.png"
    meta["frames"][1]["depth_file_path"] = "depth.npy"
    write(tmp_path, meta)
    # A point 2.5 in front of camera 0, as the depth image says.
    header = "ply\nformat ascii 1.0\nelement vertex 1\n" + "".join(
        f"property {kind} {name}\n"
        for kind, name in [("float", "x"), ("float", "y"), ("float", "z"), ("uchar", "red"),
                           ("uchar", "green"), ("uchar", "blue")]
    )  # fmt: skip
    (tmp_path / "points.ply").write_text(header + "end_header\n0 2 0.5 255 0 51\n")
    capture = load_capture(tmp_path)
    assert capture.T_source_capture.scale != 1
    assert capture.points is not None
    torch.testing.assert_close(capture.points.colors, torch.tensor([[1.0, 0.0, 0.2]]))
    viewmat = capture.cameras.viewmats[0]
    z = float((viewmat[:3, :3] @ capture.points.positions[0].double() + viewmat[:3, 3])[2])
    for index in (0, 1):
        depth = capture.view(index).depth
        assert depth is not None and depth[0, 0] == 0
        assert depth[5, 5] == pytest.approx(z, rel=1e-6)
    assert capture.view(2).depth is None


def test_masks_are_given_or_found_beside_the_images(tmp_path: Path) -> None:
    meta = make_scene(tmp_path)
    half = Image.new("L", SIZE, 0)
    half.paste(255, (0, 0, 8, 12))
    (tmp_path / "masks").mkdir()
    half.save(tmp_path / "masks" / "0.png")
    half.save(tmp_path / "masks" / "1.png.png")
    half.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "other.png")
    meta["frames"][2]["mask_path"] = "other.png"
    write(tmp_path, meta)
    capture = load_capture(tmp_path)
    for index, left in ((0, True), (1, True), (2, False)):
        mask = capture.view(index).mask
        assert mask is not None
        assert (mask[:, :8] == left).all() and (mask[:, 8:] != left).all()
    assert capture.view(3).mask is None


def test_filename_lists_are_the_split(tmp_path: Path) -> None:
    lists = {
        "train_filenames": ["images/0.png", "images/2.png"],
        "val_filenames": ["images/1.png"],
        "test_filenames": ["images/3.png"],
    }
    make_scene(tmp_path, **lists)
    capture = load_capture(tmp_path)
    assert (capture.train, capture.test) == ((0, 2), (3,))
    assert capture.split == "train_filenames and test_filenames of transforms.json (2+1)"
    assert load_capture(tmp_path, split="every", test_every=2).test == (0, 2)


def make_blender(folder: Path, parts: dict[str, int]) -> None:
    for part, count in parts.items():
        (folder / part).mkdir(parents=True)
        frames = []
        for index in range(count):
            Image.new("RGBA", (8, 8), (200, 100, 50, 128)).save(folder / part / f"r_{index}.png")
            frames.append({"file_path": f"./{part}/r_{index}", "transform_matrix": CAMTOWORLD})
        meta = {"camera_angle_x": 0.8, "frames": frames}
        (folder / f"transforms_{part}.json").write_text(json.dumps(meta))


def test_blender_folders_are_the_split(tmp_path: Path) -> None:
    make_blender(tmp_path / "full", {"train": 3, "val": 2, "test": 4})
    capture = load_capture(tmp_path / "full")
    assert (len(capture.train), len(capture.test)) == (3, 4)
    assert all(capture.image_names[i].startswith("train/") for i in capture.train)
    assert all(capture.image_names[i].startswith("test/") for i in capture.test)
    assert "transforms_test.json held out" in capture.split
    make_blender(tmp_path / "val", {"train": 3, "val": 2})
    assert "transforms_val.json held out" in load_capture(tmp_path / "val").split
    make_blender(tmp_path / "train", {"train": 9})
    assert load_capture(tmp_path / "train").test == (0, 8)


def test_blender_alpha_is_premultiplied(tmp_path: Path) -> None:
    make_blender(tmp_path, {"train": 2})
    capture = load_capture(tmp_path)
    view = capture.view(0)
    assert view.alpha is not None
    assert float(capture.cameras.Ks[0, 0, 0]) == pytest.approx(4 / math.tan(0.4))
    torch.testing.assert_close(view.alpha[0, 0].item(), 128 / 255)
    # Premultiplied colors are kept in 8 bits.
    expected = torch.tensor([200.0, 100.0, 50.0]) / 255 * 128 / 255
    torch.testing.assert_close(view.image[0, 0], expected, rtol=0, atol=0.5 / 255)
    white = view.over(torch.ones(3))[0, 0]
    torch.testing.assert_close(white, expected + 127 / 255, rtol=0, atol=0.5 / 255)


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    (
        {"camera_model": "EQUIRECTANGULAR"},
        "unknown `camera_model` 'EQUIRECTANGULAR'",
    ),
    ({"fl_x": "long"}, "`fl_x` must be a finite number, got 'long'"),
    ({"fl_x": -3.0}, "positive focal lengths"),
    ({"k1": float("nan")}, "`k1` must be a finite number"),
    ({"w": 0}, "image size 0 x 12 is impossible"),
    ({"w": 17}, r"0\.png is 16 x 12 pixels, but its camera says 17 x 12"),
    ({"applied_scale": 0.0}, "`applied_scale` must be positive"),
    ({"applied_transform": [[1, 0], [0, 1]]}, r"must be 4 x 4 or 3 x 4, got \[2, 2\]"),
    ({"frames": []}, "registers no images"),
    ({"frames": 3}, "a list `frames`"),
    ({"frames": [{}]}, "frame 0: must be an object with a `file_path`"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_FIELDS)
def test_unusable_fields_are_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    make_scene(tmp_path, **fields)
    with pytest.raises(ValueError, match=message):
        load_capture(tmp_path)


BAD_POSES: list[tuple[Any, str]] = [
    ([[float("nan")] * 4] * 4, "holds NaN or infinity"),
    ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]], "determinant is -1"),
    ([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "axes are off by"),
    ("identity", "must be 4 x 4 numbers, got identity"),
    (None, "must be 4 x 4 numbers"),
]


@pytest.mark.parametrize(("pose", "message"), BAD_POSES)
def test_unusable_poses_name_their_frame(tmp_path: Path, pose: Any, message: str) -> None:
    meta = make_scene(tmp_path)
    meta["frames"][2]["transform_matrix"] = pose
    write(tmp_path, meta)
    with pytest.raises(ValueError, match=f"frame 2: `transform_matrix` .*{message}"):
        load_capture(tmp_path)


def test_broken_json_gives_its_position(tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text('{"frames": [}')
    with pytest.raises(ValueError, match=r"not valid JSON: .*line 1 column 13"):
        load_capture(tmp_path)


def test_missing_companions(tmp_path: Path) -> None:
    meta = make_scene(tmp_path)
    meta["frames"][1]["mask_path"] = "nowhere.png"
    write(tmp_path, meta)
    with pytest.raises(FileNotFoundError, match=r"`mask_path` .*nowhere\.png does not exist"):
        load_capture(tmp_path)


def test_the_fox(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    capture = load_capture(shared_data / "scenes" / "fox", downscale=4)
    assert len(capture) == 50 and len(capture.test) == 7 and len(capture.train) == 43
    assert len(caplog.records) == 1 and "17 of them are missing" in caplog.text
    assert capture.view(0).image.shape == (480, 270, 3)
    distances = capture.cameras.positions.norm(dim=1)
    assert float(distances.max()) == pytest.approx(1)
    file_position = torch.tensor([3.168359405609479, -5.4794898611466945, -0.9791660699008925])
    back = capture.T_source_capture.apply(capture.cameras.positions[0])
    torch.testing.assert_close(back.float(), file_position)


def test_lego_silhouettes_meet_in_space(shared_data: Path) -> None:
    """The visual hull of the lego has the right size: poses, focal length and alpha agree."""
    capture = load_capture(shared_data / "scenes" / "lego_400", downscale=4)
    assert len(capture.train) == 87 and len(capture.test) == 13
    axis = torch.linspace(-1.5, 1.5, 40, dtype=torch.float64)
    source = torch.cartesian_prod(axis, axis, axis)
    points = capture.T_source_capture.inverse().apply(source)
    inside = torch.ones(len(points), dtype=torch.bool)
    for index in range(0, 100, 5):
        viewmat, K = capture.cameras.viewmats[index], capture.cameras.Ks[index]
        seen = points @ viewmat[:3, :3].T + viewmat[:3, 3]
        x, y = ((seen @ K.T)[:, :2] / seen[:, 2:]).long().clamp(0, 99).unbind(1)
        alpha = capture.view(index).alpha
        assert alpha is not None
        inside &= alpha[y, x] > 0.5
    # The model is about 1.3 x 2.2 x 1.6 units; wrong axes leave a tenth of this.
    extent = source[inside].amax(0) - source[inside].amin(0)
    assert inside.float().mean() > 0.03
    torch.testing.assert_close(extent, torch.tensor([1.3, 2.2, 1.6]).double(), rtol=0, atol=0.35)


def test_per_camera_intrinsics_of_a_rig(shared_data: Path) -> None:
    capture = load_capture(shared_data / "scenes" / "dance_rig")
    assert len(capture) == 70 and len(capture.cameras.Ks[:, 0, 0].unique()) > 5
    view = capture.view(3)
    assert view.alpha is not None and bool((view.image.amax(-1) <= view.alpha + 1e-6).all())


def test_sibling_masks_of_a_turntable(shared_data: Path) -> None:
    capture = load_capture(shared_data / "scenes" / "ethiopian_head")
    masks = [capture.view(index).mask for index in range(0, 66, 11)]
    assert all(mask is not None and 0.1 < float(mask.float().mean()) < 0.6 for mask in masks)
