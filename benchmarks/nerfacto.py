"""Whole surroundings as fields: nerfacto, contracted factors, and splats from dense points."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .command import fieldwright, real_data
from .metric import Metric

SECONDS, QUICK_SECONDS = 300, 20
"""Training of each field, start-up included."""
DENSE_STEPS, QUICK_DENSE_STEPS = 1000, 100
"""Of the splats that start from dense points."""
DENSE_GAUSSIANS = 10_000
"""Few enough that it matters where they start."""
DOWNSCALE = 4


def run(*, quick: bool) -> Iterator[Metric]:
    """Fields of the fox trained equally long, and what nerfacto's points are worth to splats."""
    data = real_data("scenes/fox")
    if data is None:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _field("nerfacto", data, folder / "nerfacto", quick=quick)
        yield from _dense_start(data, folder, quick=quick)
        for method in ("tensorf", "strivec"):
            yield from _field(method, data, folder / method, quick=quick)


def _field(method: str, data: Path, out: Path, *, quick: bool) -> Iterator[Metric]:
    """Held-out scores of one field after a fixed time."""
    seconds = QUICK_SECONDS if quick else SECONDS
    found = fieldwright(
        "train", method, "--data", data, "--downscale", DOWNSCALE, "--max-seconds", seconds,
        "--out", out,
    )  # fmt: skip
    name = f"fox at 1/{DOWNSCALE}, {method}, {seconds} s"
    limit = 25.0 if method == "nerfacto" else None
    yield Metric(f"{name}: PSNR", found["psnr"], "dB", "higher", 0.02, limit)
    yield Metric(f"{name}: SSIM", found["ssim"], "", "higher", 0.02)
    yield Metric(f"{name}: steps", found["steps"], "", "higher", 0.3)
    yield Metric(f"{name}: size", found["num_bytes"] / 1e6, "MB", "lower", 0.2)


def _dense_start(data: Path, folder: Path, *, quick: bool) -> Iterator[Metric]:
    """As many Gaussians from points of the field as from points that photos agree on."""
    steps = QUICK_DENSE_STEPS if quick else DENSE_STEPS
    points = folder / "dense.ply"
    fieldwright(
        "convert", folder / "nerfacto", points, "--steps", 0, "--count", 2 * DENSE_GAUSSIANS
    )
    scores = {}
    name = f"fox at 1/{DOWNSCALE}, {DENSE_GAUSSIANS:,} Gaussians, {steps} steps"
    starts: dict[str, Any] = {"photos": "photos", "nerfacto": points}
    for start, init in starts.items():
        found = fieldwright(
            "train", "splats", "--data", data, "--out", folder / f"from-{start}",
            "--downscale", DOWNSCALE, "--max-steps", steps, "--init", init,
            "--num-init", DENSE_GAUSSIANS, "--max-gaussians", DENSE_GAUSSIANS,
        )  # fmt: skip
        scores[start] = found["psnr"]
        yield Metric(f"{name}, points of {start}: PSNR", found["psnr"], "dB", "higher", 0.02)
    gain = scores["nerfacto"] - scores["photos"]
    yield Metric(f"{name}, gain of dense points", gain, "dB", "higher", 1.0)
