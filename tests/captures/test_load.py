"""Decoding, resampling, caching and the errors of `load_capture`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captures import load_capture
from captures.images import decode_depth, decode_image, decode_mask, image_size
from captures.normalize import normalizing_similarity
from captures.point_ply import read_point_ply


def make_scene(folder: Path, *, count: int = 4, size: tuple[int, int] = (16, 12)) -> Path:
    (folder / "images").mkdir()
    frames = []
    for index in range(count):
        Image.new("RGB", size, (index, 0, 0)).save(folder / f"images/{index}.png")
        pose = np.eye(4)
        pose[0, 3] = index
        frames.append({"file_path": f"images/{index}.png", "transform_matrix": pose.tolist()})
    meta = {"fl_x": 20.0, "w": size[0], "h": size[1], "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(meta))
    return folder


def noise(width: int, height: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_integer_factors_are_the_area_average(tmp_path: Path) -> None:
    pixels = noise(24, 16, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    reduced = decode_image(tmp_path / "a.png", size=(24, 16), target=(6, 4)).rgb.numpy()
    exact = pixels.reshape(4, 4, 6, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(reduced, exact, rtol=0, atol=0.501)


def test_transparent_colors_do_not_bleed(tmp_path: Path) -> None:
    """Averaging happens after multiplication with alpha: hidden colors have no effect."""
    pixels = noise(24, 16, 4)
    pixels[..., 3] = 255 * (pixels[..., 3] > 127)
    hidden = pixels.copy()
    hidden[pixels[..., 3] == 0, :3] = 0
    results = []
    for name, value in (("a", pixels), ("b", hidden)):
        Image.fromarray(value).save(tmp_path / f"{name}.png")
        for target in ((6, 4), (7, 5)):
            path = tmp_path / f"{name}.png"
            results.append(decode_image(path, size=(24, 16), target=target))
    for first, second in zip(results[:2], results[2:], strict=True):
        assert torch.equal(first.rgb, second.rgb)
        assert first.alpha is not None and second.alpha is not None
        assert torch.equal(first.alpha, second.alpha)
    exact = (hidden[..., :3] * (hidden[..., 3:] / 255)).reshape(4, 4, 6, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(results[0].rgb.numpy(), exact, rtol=0, atol=0.501)


def test_any_factor_keeps_the_mean(tmp_path: Path) -> None:
    pixels = noise(90, 60, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for target in ((45, 30), (50, 33), (13, 9), (90, 60)):
        reduced = decode_image(tmp_path / "a.png", size=(90, 60), target=target).rgb
        assert float(reduced.float().mean()) == pytest.approx(pixels.mean(), abs=0.6)


def test_scaled_jpeg_decoding_stays_near_the_area_average(shared_data: Path) -> None:
    path = shared_data / "scenes" / "fox" / "images" / "0001.jpg"
    scaled = decode_image(path, size=(1080, 1920), target=(270, 480)).rgb.float()
    with Image.open(path) as image:
        exact = torch.from_numpy(np.array(image.reduce(4))).float()
    assert float((scaled - exact).square().mean()) < 0.25  # seen 0.17, that is 55.8 dB


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_follows_the_declared_size(tmp_path: Path, orientation: int) -> None:
    pixels = noise(16, 12, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=exif)
    assert image_size(path) == (16, 12)
    stored = decode_image(path, size=(16, 12), target=(16, 12)).rgb
    assert np.array_equal(stored.numpy(), pixels)
    if orientation >= 5:
        from PIL import ImageOps

        with Image.open(path) as image:
            turned = np.array(ImageOps.exif_transpose(image))
        ours = decode_image(path, size=(12, 16), target=(12, 16)).rgb
        assert np.array_equal(ours.numpy(), turned)


def test_masks_exclude_every_mixed_pixel(tmp_path: Path) -> None:
    mask = np.full((12, 16), 255, dtype=np.uint8)
    mask[5, 9] = 0
    Image.fromarray(mask).save(tmp_path / "m.png")
    reduced = decode_mask(tmp_path / "m.png", target=(4, 3))
    expected = torch.ones(3, 4, dtype=torch.bool)
    expected[1, 2] = False
    assert torch.equal(reduced, expected)


def test_depths_are_never_mixed(tmp_path: Path) -> None:
    depth = np.where(np.arange(16) < 9, 1000, 5000).astype(np.uint16)[None].repeat(12, axis=0)
    Image.fromarray(depth).save(tmp_path / "d.png")
    assert set(decode_depth(tmp_path / "d.png", target=(5, 4)).unique().tolist()) == {1000, 5000}
    np.save(tmp_path / "d.npy", np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match=r"one depth per pixel, got shape \[2, 3, 4\]"):
        decode_depth(tmp_path / "d.npy", target=(5, 4))


def test_intrinsics_follow_the_image(tmp_path: Path) -> None:
    capture = load_capture(make_scene(tmp_path), downscale=4)
    assert (capture.cameras.width, capture.cameras.height) == (4, 3)
    assert capture.cameras.Ks[0].tolist() == [[5, 0, 2], [0, 5, 1.5], [0, 0, 1]]
    assert capture.resolution == "4 x 3, reduced by 4 (area average)"
    with pytest.raises(ValueError, match="`downscale` must be at least 1"):
        load_capture(tmp_path, downscale=0.5)


def test_large_photos_are_brought_to_1600_pixels(tmp_path: Path) -> None:
    capture = load_capture(make_scene(tmp_path, size=(2000, 10)))
    assert (capture.cameras.width, capture.cameras.height) == (1600, 8)
    assert "reduced by 1.25 (antialiased bicubic)" in capture.resolution


def test_the_cache_is_bounded_and_keeps_the_latest(tmp_path: Path) -> None:
    make_scene(tmp_path, count=8)
    one_view = 16 * 12 * 5
    capture = load_capture(tmp_path, cache_bytes=3 * one_view)
    assert capture.cache_capacity == 3
    for index in range(8):
        assert round(float(capture.view(index).image[0, 0, 0]) * 255) == index
        assert capture.load_view.num_cached_bytes <= 3 * one_view  # type: ignore[attr-defined]
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    assert round(float(capture.view(7).image[0, 0, 0]) * 255) == 7
    with pytest.raises(FileNotFoundError):
        capture.view(0)


def test_preloaded_views_need_no_files(tmp_path: Path) -> None:
    capture = load_capture(make_scene(tmp_path, count=8))
    capture.preload()
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    values = [round(float(capture.view(index).image[0, 0, 0]) * 255) for index in range(8)]
    assert values == list(range(8))


def test_normalization_leaves_every_projection_alone(tmp_path: Path) -> None:
    make_scene(tmp_path)
    plain, moved = load_capture(tmp_path, normalize=False), load_capture(tmp_path)
    points = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    there = moved.T_source_capture.inverse().apply(points)
    for before, after in zip(plain.cameras.viewmats, moved.cameras.viewmats, strict=True):
        a = points @ before[:3, :3].T + before[:3, 3]
        b = there @ after[:3, :3].T + after[:3, 3]
        torch.testing.assert_close(a[:, :2] / a[:, 2:], b[:, :2] / b[:, 2:])


def test_inward_cameras_are_centred_on_what_they_look_at(shared_data: Path) -> None:
    lego = load_capture(shared_data / "scenes" / "lego_400", normalize=False).cameras
    similarity = normalizing_similarity(lego)
    # Blender's cameras look exactly at the origin from distance 4.031.
    assert float(similarity.translation.norm()) < 1e-4
    assert similarity.scale == pytest.approx(1 / 4.0311, rel=1e-4)


def test_folders_that_are_no_capture(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"looked for transforms\.json.*poses_bounds\.npy"):
        load_capture(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_capture(tmp_path / "nowhere")


def test_images_of_another_size_and_damaged_images(tmp_path: Path) -> None:
    make_scene(tmp_path)
    Image.new("RGB", (15, 12)).save(tmp_path / "images/2.png")
    with pytest.raises(ValueError, match=r"2\.png is 15 x 12 pixels, but its camera says 16 x 12"):
        load_capture(tmp_path)
    (tmp_path / "images/2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"2\.png is no image that can be read"):
        load_capture(tmp_path)
    Image.fromarray(noise(16, 12, 3)).save(tmp_path / "images/2.png")
    content = (tmp_path / "images/2.png").read_bytes()
    (tmp_path / "images/2.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"2\.png cannot be decoded"):
        load_capture(tmp_path).view(2)


@pytest.mark.parametrize("order", ["<", ">"])
def test_binary_point_files(tmp_path: Path, order: str) -> None:
    kinds = [("x", "f8"), ("y", "f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("z", "f4")]
    names = {"f8": "double", "f4": "float", "u1": "uchar"}
    rows = np.zeros(3, dtype=[(name, order + kind) for name, kind in kinds])
    rows["x"], rows["z"], rows["blue"] = [1, 2, np.nan], [7, 8, 9], [0, 255, 0]
    encoding = "binary_little_endian" if order == "<" else "binary_big_endian"
    header = [f"ply\nformat {encoding} 1.0\nelement vertex 3"]
    header += [f"property {names[kind]} {name}" for name, kind in kinds]
    content = "\n".join([*header, "end_header\n"]).encode() + rows.tobytes()
    path = tmp_path / "p.ply"
    path.write_bytes(content)
    points = read_point_ply(path)
    assert points.positions.tolist() == [[1, 0, 7], [2, 0, 8]]
    assert points.colors.tolist() == [[0, 0, 0], [0, 0, 1]]
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="the file is truncated"):
        read_point_ply(path)
    path.write_bytes(b"solid")
    with pytest.raises(ValueError, match="is no PLY file"):
        read_point_ply(path)
