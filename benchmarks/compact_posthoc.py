"""Finished splats without photos: size at equal renders beside SPZ and SOG, prefixes, and speed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from splats.compact.compress import Compressor, Goal
from splats.compact.judge import Judge, decibels, error_of_loss, judge_without_photos
from splats.formats import InMemory, collect, find_format, load, open_source
from splats.scene import SplatScene
from vq.asset import open_asset

from .command import real_data
from .formats import SCENES
from .metric import Metric
from .synthetic_splats import synthetic_scene

RIVALS = {"SPZ v4": ("rival.spz", 1.7), "SOG": ("rival.sog", 1.5)}
"""File and how much smaller an asset of equal renders shall be."""
PREFIXES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_LAYERS = 4
_COUNT = 1_000_000
_ENCODE_SECONDS, _DECODE_SECONDS = 15.0, 2.0


def posthoc(*, quick: bool) -> Iterator[Metric]:
    """Every real scene of shared/data/splats."""
    for name, place in SCENES.items():
        path = real_data(place)
        if path is None or (quick and name != "toy-cat"):
            continue
        gaussians = load(path)
        compressor = Compressor(judge_without_photos(SplatScene(gaussians)), antialiased=False)
        with tempfile.TemporaryDirectory() as folder:
            yield from _beside_rivals(name, compressor, Path(folder))
            yield from _at_losses(name, compressor, Path(folder))


def _beside_rivals(name: str, compressor: Compressor, folder: Path) -> Iterator[Metric]:
    """The size of an asset whose renders are as near to the scene as the rival's."""
    for rival, (file, limit) in RIVALS.items():
        theirs = folder / file
        find_format(theirs, writing=True).write(InMemory(compressor.gaussians), theirs)
        error = compressor.judge.error(load(theirs))
        yield Metric(f"{name} as {rival}: size", theirs.stat().st_size, "B")
        yield Metric(f"{name} as {rival}: render PSNR", decibels(error), "dB")
        ours = folder / "ours.fwa"
        ours.write_bytes(compressor.fit_error(error, Goal(layers=1))[0])
        size, reached = ours.stat().st_size, compressor.judge.error(load(ours))
        label = f"{name} compressed to renders like {rival}"
        yield Metric(f"{label}: size", size, "B", "lower", 0.05)
        yield Metric(f"{label}: render PSNR", decibels(reached), "dB", "higher", 0.01)
        smaller = theirs.stat().st_size / size
        yield Metric(f"{label}: smaller", smaller, "x", "higher", 0.05, limit)


def _at_losses(name: str, compressor: Compressor, folder: Path) -> Iterator[Metric]:
    """Bits at the losses that the bars name, photos being matched at 30 dB; then prefixes."""
    for loss, limit in ((0.1, 80.0), (0.3, 50.0)):
        path = folder / f"{loss}.fwa"
        written = compressor.write(path, Goal(loss=loss))
        bits = 8 * written.num_bytes / len(compressor.gaussians)
        label = f"{name} compressed by {loss} dB"
        yield Metric(f"{label}: bits per Gaussian", bits, "bit", "lower", 0.05, limit)
        psnr = decibels(compressor.judge.error(load(path)))
        yield Metric(f"{label}: render PSNR", psnr, "dB", "higher", 0.01)
        wanted = decibels(error_of_loss(loss, error=compressor.photo_error))
        yield Metric(f"{label}: render PSNR asked for", wanted, "dB")
    path = folder / "layers.fwa"
    written = compressor.write(path, Goal(loss=0.1, layers=_LAYERS))
    label = f"{name} compressed by 0.1 dB in {_LAYERS} layers"
    bits = 8 * written.num_bytes / len(compressor.gaussians)
    yield Metric(f"{label}: bits per Gaussian", bits, "bit", "lower", 0.05)
    yield from _prefixes(label, path, compressor.judge)


def _prefixes(label: str, path: Path, judge: Judge) -> Iterator[Metric]:
    """Render PSNR of the beginning of a file."""
    with open_asset(path) as asset:
        sizes = list(asset.sizes.values())
    first = (sum(sizes[:2]) + 16) / sum(sizes)
    yield Metric(f"{label}: share of the file that shows all", first, "of it", "lower", 0.1, 0.1)
    for share in PREFIXES:
        psnr = decibels(judge.error(collect(open_source(path, first=share))))
        yield Metric(f"{label}: render PSNR of the first {share:.0%}", psnr, "dB", "higher", 0.05)


def speed(*, quick: bool) -> Iterator[Metric]:
    """A million Gaussians of degree 3: trade-off, search, coding; and reading."""
    count = 20_000 if quick else _COUNT
    gaussians = synthetic_scene(count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.fwa"
        start = time.perf_counter()
        judge = judge_without_photos(SplatScene(gaussians))
        Compressor(judge, antialiased=False).write(path, Goal(), started=start)
        encode = time.perf_counter() - start
        start = time.perf_counter()
        load(path)
        decode = time.perf_counter() - start
    label = f"{count:,} Gaussians of degree 3"
    limits = (None, None) if quick else (_ENCODE_SECONDS, _DECODE_SECONDS)
    yield Metric(f"{label}: encode", encode, "s", "lower", 0.3, limits[0])
    yield Metric(f"{label}: decode", decode, "s", "lower", 0.3, limits[1])
