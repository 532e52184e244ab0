"""The asset file: a million damaged ones, the cost of opening one, and real scenes inside."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from splats.formats import load, save
from splats.formats.fwa import FwaOptions
from vq.asset import open_asset
from vq.asset.reader import BASE_BYTES

from .asset_fuzzing import target
from .command import real_data
from .fuzzing import fuzz
from .metric import Metric
from .timing import compare

CASES = 1_000_000
SCENES = ("splats/biker/biker.spz", "splats/toy-cat/scene.compressed.ply")


def run(*, quick: bool) -> Iterator[Metric]:
    """Damage first; then times and sizes."""
    yield from _damage(20_000 if quick else CASES)
    data = target().files[0]
    seconds = compare({"open": lambda: open_asset(data)}, rounds=50)["open"].best
    yield Metric("open an asset of 8 sections", 1e6 * seconds, "us", "lower", 0.5)
    for name in SCENES:
        path = real_data(name)
        if path is not None:
            yield from _scene(path)


def _damage(cases: int) -> Iterator[Metric]:
    report = fuzz("benchmarks.asset_fuzzing:target", cases, num_processes=2)
    found = report.outcomes
    bad = {kind: found[kind] for kind in ("crash", "hang", "wrong")}
    yield Metric("damaged assets: files", report.cases, "", "higher", 0.0, cases)
    for kind, label in (("crash", "crashes"), ("hang", "hangs"), ("wrong", "wrong content")):
        yield Metric(f"damaged assets: {label}", bad[kind], "", "lower", 0.0, 0)
    yield Metric("damaged assets: refused", found["refused"] / report.cases, "of all")
    yield Metric(
        "damaged assets: read as other valid files", found["other"] / report.cases, "of all"
    )
    limit = 9 * BASE_BYTES / 1e6
    yield Metric("damaged assets: most memory", report.peak_bytes / 1e6, "MB", "lower", 1.0, limit)
    yield Metric("damaged assets: rate", report.cases / report.seconds, "1/s", "higher", 0.5)


def _scene(source: Path) -> Iterator[Metric]:
    gaussians = load(source)
    label = f"{source.parent.name}, {len(gaussians)} Gaussians of degree {gaussians.sh_degree}"
    with tempfile.TemporaryDirectory() as folder:
        for name, options in (
            ("exact", FwaOptions(lossless=True)),
            ("fast", FwaOptions(fast=True)),
            ("default", FwaOptions()),
        ):
            path = Path(folder) / f"{name}.fwa"
            start = time.perf_counter()
            report = save(gaussians, path, options=options)
            encoded = time.perf_counter()
            load(path)
            decoded = time.perf_counter()
            rate = 8 * report.num_bytes / len(gaussians)
            yield Metric(f"{label}, {name}: rate", rate, "bits/Gaussian", "lower", 0.02)
            per_million = 1e6 / len(gaussians)
            yield Metric(
                f"{label}, {name}: write 1 M", (encoded - start) * per_million, "s", "lower", 0.3
            )
            yield Metric(
                f"{label}, {name}: read 1 M", (decoded - encoded) * per_million, "s", "lower", 0.3
            )
