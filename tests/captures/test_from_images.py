"""Photos and videos to captures: pair lists, sharp frames, known poses and bad input."""

from __future__ import annotations

from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from captures import load_capture
from captures.frames import sharpest_per_window, sharpness, write_sharp_frames
from captures.from_images import FromImagesOptions, from_images, read_intrinsics
from captures.matching import EXHAUSTIVE_LIMIT, image_pairs
from captures.reconstruction_report import ReconstructionReport
from captures.sample import make_sample_capture, spiral_cameras


def test_auto_compares_all_pairs_of_few_images_and_neighbors_of_many() -> None:
    few = [f"{i:04d}" for i in range(12)]
    assert image_pairs(few, matcher="auto") == list(combinations(few, 2))
    many = [f"{i:04d}" for i in range(EXHAUSTIVE_LIMIT + 100)]
    pairs = image_pairs(many, matcher="auto")
    assert len(pairs) == len(set(pairs)) < 4000
    assert {(many[i], many[i + 1]) for i in range(len(many) - 1)} <= set(pairs)
    assert (many[0], many[190]) in pairs  # loops are closed through keyframes


def test_sharpness_falls_with_every_blur() -> None:
    image = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    scores = []
    for _ in range(4):
        scores.append(sharpness(image))
        image = (image + np.roll(image, 1, 0) + np.roll(image, 1, 1)) / 3
    assert scores == sorted(scores, reverse=True)


def test_sharpest_frame_of_each_window_is_chosen() -> None:
    assert sharpest_per_window([1.0, 5.0, 2.0, 7.0, 3.0, 4.0], 3) == [1, 3, 5]
    assert sharpest_per_window([1.0, 2.0], 10) == [0, 1]


def test_sharp_frames_of_a_video_are_the_unblurred_ones(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    rng = np.random.default_rng(0)
    sharp = np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    smooth = np.full_like(sharp, 128)
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(12):
            picture = sharp if number in (1, 7, 10) else smooth
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    names = write_sharp_frames(tmp_path / "clip.mp4", tmp_path, max_frames=3)
    assert names == ["frame_000001.jpg", "frame_000007.jpg", "frame_000010.jpg"]
    assert all((tmp_path / name).is_file() for name in names)


def test_unreadable_video_says_so(tmp_path: Path) -> None:
    pytest.importorskip("av")
    pytest.importorskip("pycolmap")
    (tmp_path / "clip.mp4").write_bytes(b"no video at all")
    with pytest.raises(ValueError, match=r"clip\.mp4 cannot be decoded"):
        from_images(tmp_path / "clip.mp4", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("wanted", "used"), [("auto", "sequential"), ("exhaustive",) * 2])
def test_frames_of_a_video_are_compared_in_order_unless_told_otherwise(
    wanted: Literal["auto", "exhaustive"],
    used: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Matched(Exception):
        """Ends the run once the matcher is known."""

    def match(database, names, *, matcher, threads) -> None:
        raise Matched(matcher)

    pytest.importorskip("pycolmap")
    module = import_module("captures.from_images")  # the package's attribute is the function
    monkeypatch.setattr(module, "write_sharp_frames", lambda *args, **options: ["a.jpg", "b.jpg"])
    monkeypatch.setattr(module, "_extract", lambda *args: None)
    monkeypatch.setattr(module, "match", match)
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(Matched, match=used):
        from_images(tmp_path / "clip.mp4", tmp_path / "out", FromImagesOptions(matcher=wanted))


def test_bad_sources_and_outputs_are_named(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    (tmp_path / "empty").mkdir()
    (tmp_path / "there").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds 0 images"):
        from_images(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        from_images(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(FileExistsError, match="there exists already"):
        from_images(tmp_path / "empty", tmp_path / "there")
    (tmp_path / "K.txt").write_text("1 0 0\n0 1 0\n")
    with pytest.raises(ValueError, match="3 x 3 matrix, got shape"):
        read_intrinsics(tmp_path / "K.txt")


def test_photos_without_features_register_none_and_leave_nothing(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    (tmp_path / "gray").mkdir()
    for number in range(3):
        Image.new("RGB", (96, 64), (128, 128, 128)).save(tmp_path / "gray" / f"{number} a.png")
    with pytest.raises(ValueError, match="None of the 3 images could be registered"):
        from_images(tmp_path / "gray", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["gray"]


def test_verdict_says_what_to_try_when_few_registered() -> None:
    report = ReconstructionReport(10, 3, 100, 0.5, 3.0, ("a.jpg", "b.jpg"), Path("out"))
    assert "3 of 10 images have a pose" in report.verdict
    assert "overlap" in report.verdict and "a.jpg" in report.verdict


@pytest.mark.slow
def test_sample_scene_gets_back_its_exact_poses(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    sample = make_sample_capture(tmp_path / "sample", num_views=40, width=400, height=300)
    exact = spiral_cameras(40, 400, 300)
    options = FromImagesOptions(intrinsics=exact.Ks[0].numpy())
    report = from_images(sample / "images", tmp_path / "out", options)
    assert report.num_registered >= 38
    capture = load_capture(tmp_path / "out")
    index = [int(name[5:8]) for name in capture.image_names]
    wanted = exact.positions[index]
    found = capture.cameras.positions
    aligned = _aligned(found, wanted)
    errors = (aligned - wanted).norm(dim=1)
    # Median error in scene units; the spiral is about 11 units wide.
    assert errors.median() < 0.02


def _aligned(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """`source` after the best similarity onto `target`; Umeyama, PAMI 1991, equations 40 to 42."""
    a, b = source - source.mean(0), target - target.mean(0)
    U, S, Vt = torch.linalg.svd(b.T @ a)
    signs = torch.ones(3, dtype=source.dtype)
    signs[2] = torch.sign(torch.det(U) * torch.det(Vt))
    rotation = U @ torch.diag(signs) @ Vt
    scale = (S * signs).sum() / (a**2).sum()
    return scale * a @ rotation.T + target.mean(0)


@pytest.mark.slow
def test_all_photos_of_the_castle_register(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    photos = shared_data / "photos_no_poses" / "sceaux_castle"
    report = from_images(photos, tmp_path / "out")
    assert (report.num_registered, report.num_images) == (11, 11)
    assert report.reprojection_error < 0.8
    capture = load_capture(tmp_path / "out")
    assert len(capture) == 11
    assert capture.points is not None and len(capture.points.positions) == report.num_points
    assert (tmp_path / "out" / "cameras.png").stat().st_size > 5000
