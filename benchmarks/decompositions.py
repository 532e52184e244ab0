"""Strivec beside TensoRF-VM on real photos, and coded fields beside coded splats."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from vq.asset import open_asset

from .command import fieldwright, real_data
from .fields_rate import draw, rate
from .metric import Metric

SECONDS = 300
"""Training of each field, start-up included."""


def run(*, quick: bool) -> Iterator[Metric]:
    """Both fields for the same time, sizes of the better one, and the plot of all sizes."""
    data = real_data("scenes/lego_400")
    if data is None:
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in _trained(data, Path(folder), quick=quick):
            rows.append(row)
            yield row
    if not quick:
        draw("lego_400", rows)


def _trained(data: Path, folder: Path, *, quick: bool) -> Iterator[Metric]:
    """Strivec against TensoRF-VM, trained equally long: quality and numbers trained."""
    seconds = 15 if quick else SECONDS
    scale = ("--downscale", 4) if quick else ()
    scores, counts = {}, {}
    for method, title in (("tensorf", "tensorf-vm"), ("strivec", "strivec")):
        out = folder / method
        arguments = ("--data", data, "--out", out, "--max-seconds", seconds, *scale)
        found = fieldwright("train", method, *arguments)
        with open_asset(Path(found["scene"])) as asset:
            counts[title] = int(asset.header.properties["num_parameters"])
        scores[title] = found["psnr"]
        name = f"{title}, lego_400, {seconds} s"
        limit = 30.0 if title == "strivec" else None
        yield Metric(f"{name}: PSNR", found["psnr"], "dB", "higher", 0.02, limit)
        yield Metric(f"{name}: steps", found["steps"], "", "higher", 0.3)
        yield Metric(f"{name}: parameters", counts[title] / 1e6, "M", "lower", 0.2)
        yield Metric(f"{name}: file", found["num_bytes"] / 1e6, "MB", "lower", 0.2)
        memory = found["peak_memory_bytes"] / 1e9
        yield Metric(f"{name}: peak memory", memory, "GB", "lower", 0.2)
        if method == "strivec" and not quick:
            yield from rate("strivec", Path(found["scene"]), data, folder)
    share = 100 * counts["strivec"] / counts["tensorf-vm"]
    yield Metric("strivec: parameters / those of tensorf-vm", share, "%", "lower", 0.2, 60)
    gain = scores["strivec"] - scores["tensorf-vm"]
    yield Metric("strivec: PSNR above tensorf-vm", gain, "dB", "higher", 0.5, 0)
