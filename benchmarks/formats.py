"""Splat files of every format: size, loss, speed, and the reference writers beside ours.

Rows are named "SCENE as FORMAT: FIGURE", from which `format_pages` makes docs/formats.md.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splats.formats import InMemory, find_format, load
from splats.formats.cameras import automatic_cameras
from splats.formats.conversion import Conversion, Pictures, convert, size_of
from splats.formats.rendered import pictures_psnr, render_pictures
from splats.formats.spz import SpzOptions
from splats.gaussians import Gaussians
from splats.scene import SplatScene

from . import splat_transform
from .command import real_data
from .metric import Metric
from .synthetic_splats import synthetic_scene

SCENES = {
    "toy-cat": "splats/toy-cat/scene.compressed.ply",
    "biker": "splats/biker/biker.compressed.ply",
    "playbot": "splats/playbot_sog_lod/2_0/meta.json",
}
"""Real scenes by name; playbot is its third level of detail."""

ENDINGS = ("ply", "glb", "usdz", "compressed.ply", "splat", "ksplat", "spz", "sog", "fwa")
"""What every scene is written as, lossless formats first."""

ATTRIBUTES = {
    "means": "position error",
    "log_scales": "log scale error",
    "rotations": "rotation error",
    "opacities": "opacity error",
    "sh": "harmonics error",
}
"""Mean absolute errors that become rows; in the units of `splats.formats.compare.Errors`."""

_PICTURES = Pictures(count=4, width=360, height=270)
_LIMITS = {
    ("ply", "read"): 0.080,
    ("ply", "write"): 0.300,
    ("spz", "read"): 0.4,
    ("spz", "write"): 1.5,
    ("sog", "write"): 20.0,
}
"""Seconds for a million Gaussians of degree 3 on two cores."""
_COUNT = 1_000_000
_REFERENCE_SECONDS = 60.0  # its SOG writer takes minutes without a GPU where there are harmonics


@dataclass(frozen=True)
class _Scene:
    """A real scene, and pictures of it to compare other writers' files with."""

    name: str
    path: Path
    gaussians: Gaussians


def run(*, quick: bool) -> Iterator[Metric]:
    """Real scenes through every format, then speed on a synthetic scene."""
    for name, place in SCENES.items():
        path = real_data(place)
        if path is None or (quick and name != "toy-cat"):
            continue
        scene = _Scene(name, path, load(path))
        with tempfile.TemporaryDirectory() as folder:
            for ending in ENDINGS:
                yield from _written(scene, Path(folder), ending)
            yield from _references(scene, Path(folder))
    yield from _speed(20_000 if quick else _COUNT)


def _written(scene: _Scene, folder: Path, ending: str) -> Iterator[Metric]:
    done = convert(scene.path, folder / f"ours.{ending}", pictures=_PICTURES)
    label = f"{scene.name} as {ending}"
    yield Metric(f"{label}: size", done.num_bytes, "B", "lower", 0.02)
    yield Metric(f"{label}: bits per Gaussian", done.bits_per_gaussian, "bit", "lower", 0.02)
    if done.render_psnr is not None:
        yield Metric(f"{label}: render PSNR", done.render_psnr, "dB", "higher", 0.02)
    yield from _errors(label, done)


def _errors(label: str, done: Conversion) -> Iterator[Metric]:
    for attribute, figure in ATTRIBUTES.items():
        if done.format_name == "fwa" and attribute in ("log_scales", "rotations"):
            continue  # it names the axes of an ellipsoid in any order
        found = [value for name, value in done.mean_errors.items() if name.startswith(attribute)]
        yield Metric(f"{label}: {figure}", max(found, default=0.0), "", "lower", 0.05)


def _references(scene: _Scene, folder: Path) -> Iterator[Metric]:
    """Our files against those that the format's own program makes of the same scene.

    Each is rendered against the scene; size counts only together with loss.
    """
    if not splat_transform.available():
        return
    cameras = automatic_cameras(
        SplatScene(scene.gaussians), _PICTURES.count, width=_PICTURES.width, height=_PICTURES.height
    )
    truth = render_pictures(SplatScene(scene.gaussians), cameras)
    for ending in ("compressed.ply", "spz", "sog", "glb"):
        theirs = folder / f"theirs.{ending}"
        if scene.path.name == "meta.json" and ending == "sog":
            theirs = scene.path.parent  # PlayCanvas wrote it
        elif not splat_transform.convert(folder / "ours.ply", theirs, seconds=_REFERENCE_SECONDS):
            continue
        label = f"{scene.name} as {ending}"
        # It writes the numbers of the PLY into SPZ files without turning them to RUB.
        frame = "RDF" if ending == "spz" else None
        for author, path, axes in (
            ("splat-transform", theirs, frame),
            ("ours", folder / f"ours.{ending}", None),
        ):
            images = render_pictures(SplatScene(load(path, frame=axes)), cameras)
            psnr = pictures_psnr(truth, images)
            yield Metric(f"{label}: render PSNR beside the reference, {author}", psnr, "dB")
        size = size_of(folder / f"ours.{ending}") / size_of(theirs)
        yield Metric(f"{label}: size over splat-transform's", size, "x", "lower", 0.02, 1.0)


def _speed(count: int) -> Iterator[Metric]:
    scene = InMemory(synthetic_scene(count))
    with tempfile.TemporaryDirectory() as folder:
        for ending in ENDINGS:
            if ending in ("usdz", "fwa"):
                continue  # text, not meant for this size; and the suite `asset` has the other
            path = Path(folder) / f"a.{ending}"
            for what, seconds in _time(scene, path).items():
                limit = _LIMITS.get((ending, what)) if count == _COUNT else None
                name = f"{count:,} Gaussians of degree 3 as {ending}: {what}"
                yield Metric(name, seconds, "s", "lower", 0.3, limit)
            path.unlink()


def _time(scene: InMemory, path: Path) -> dict[str, float]:
    """Best of a few times to write and to read all into memory; slow ones are measured once."""
    chosen = find_format(path)
    options: Any = SpzOptions() if path.suffix == ".spz" else None

    def write() -> None:
        chosen.write(scene, path, options=options, overwrite=True)

    def read() -> None:
        for _ in chosen.open(path).chunks(scene.num_primitives):
            pass

    return {"write": _best(write), "read": _best(read)}


def _best(call: Any, *, rounds: int = 4, enough: float = 4.0) -> float:
    taken: list[float] = []
    while len(taken) < rounds and sum(taken) < enough:
        os.sync()  # what an earlier call wrote shall not be flushed on this one's time
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)
