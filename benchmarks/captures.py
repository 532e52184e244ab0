"""Time of making, loading and reconstructing captures."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from captures import load_capture
from captures.sample import make_sample_capture

from .command import fieldwright, real_data
from .metric import Metric


def run(*, quick: bool) -> Iterator[Metric]:
    """The sample capture, loading the fox, and poses of photos that come without."""
    with tempfile.TemporaryDirectory() as folder:
        yield _sample(Path(folder), num_views=4 if quick else 48)
        fox = real_data("scenes/fox")
        if fox is not None:
            yield _load(fox)
        photos = real_data("photos_no_poses/sceaux_castle")
        if photos is not None:
            yield from _reconstruct(photos, Path(folder) / "castle", 400 if quick else 1600)


def _sample(folder: Path, *, num_views: int) -> Metric:
    start = time.perf_counter()
    make_sample_capture(folder / "sample", num_views=num_views)
    seconds = time.perf_counter() - start
    return Metric(f"sample capture, {num_views} views", seconds, "s", "lower", 0.25, 20.0)


def _load(fox: Path) -> Metric:
    start = time.perf_counter()
    capture = load_capture(fox, downscale=4)
    capture.preload()
    seconds = time.perf_counter() - start
    name = f"load fox, {len(capture)} photos of 1080x1920 undistorted at 1/4 resolution"
    return Metric(name, seconds, "s", "lower", 0.25)


def _reconstruct(photos: Path, out: Path, max_image_size: int) -> Iterator[Metric]:
    start = time.perf_counter()
    summary = fieldwright("capture", photos, out, "--max-image-size", max_image_size)
    seconds = time.perf_counter() - start
    share = summary["num_registered"] / summary["num_images"]
    name = f"fieldwright capture, {summary['num_images']} photos of Sceaux castle"
    yield Metric(f"{name}: registered", share, "of all", "higher", 0.0, 1.0)
    yield Metric(f"{name}: reprojection error", summary["reprojection_error"], "px", "lower", 0.1)
    yield Metric(f"{name}: points", summary["num_points"], "", "higher", 0.1)
    yield Metric(f"{name}: time", seconds, "s", "lower", 0.3)
