"""LLFF scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captures import load_capture


def poses(count: int = 3) -> np.ndarray:
    """Cameras without rotation in OpenCV axes, at x = 0, 1, ...: LLFF columns are y, x, -z, t."""
    rows = np.zeros((count, 17))
    for index in range(count):
        block = np.zeros((3, 5))
        block[:, 0], block[:, 1], block[:, 2] = [0, 1, 0], [1, 0, 0], [0, 0, -1]
        block[:, 3], block[:, 4] = [index, 0, 0], [12, 16, 20]
        rows[index, :15], rows[index, 15:] = block.reshape(-1), [1, 5]
    return rows


def make_scene(folder: Path, rows: np.ndarray, images: int = 3) -> None:
    (folder / "images").mkdir(exist_ok=True)
    for index in range(images):
        Image.new("RGB", (16, 12)).save(folder / "images" / f"{index}.png")
    np.save(folder / "poses_bounds.npy", rows)


def test_axes_and_intrinsics(tmp_path: Path) -> None:
    make_scene(tmp_path, poses())
    capture = load_capture(tmp_path, normalize=False, test_every=0)
    expected = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    expected[:, 0, 3] = -torch.arange(3.0).double()
    assert torch.equal(capture.cameras.viewmats, expected)
    assert capture.cameras.Ks[0].tolist() == [[20, 0, 8], [0, 20, 6], [0, 0, 1]]
    assert (capture.cameras.width, capture.cameras.height) == (16, 12)


def test_the_original_file_of_a_real_scene_agrees_with_its_json(
    shared_data: Path, tmp_path: Path
) -> None:
    scene = shared_data / "scenes" / "ethiopian_head"
    rows = np.load(scene / "poses_bounds_original.npy", allow_pickle=False)
    factor = rows[0, 9] / 500  # the images were reduced for the data folder
    rows[:, 4:15:5] /= factor
    (tmp_path / "images").symlink_to(scene / "images")
    np.save(tmp_path / "poses_bounds.npy", rows)
    ours, json_file = load_capture(tmp_path), load_capture(scene)
    torch.testing.assert_close(ours.cameras.viewmats, json_file.cameras.viewmats)
    torch.testing.assert_close(ours.cameras.Ks, json_file.cameras.Ks)


def test_damaged_arrays(tmp_path: Path) -> None:
    make_scene(tmp_path, poses())
    path = tmp_path / "poses_bounds.npy"
    nan = poses()
    nan[1, 3] = np.nan
    for rows, message in [
        (np.zeros((3, 12)), r"must be \[N, 17\] .* got \[3, 12\]"),
        (nan, r"NaN or infinity in the poses of images \[1\]"),
        (poses(2), "2 poses, but .* holds 3 images"),
        (poses(0), "holds no poses"),
        (np.array([["a"] * 17]), "must hold numbers"),
    ]:
        np.save(path, rows)
        with pytest.raises(ValueError, match=message):
            load_capture(tmp_path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"is not a plain \.npy array"):
        load_capture(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"is not a plain \.npy array"):
        load_capture(tmp_path)
