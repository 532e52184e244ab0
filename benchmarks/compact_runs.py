"""Trainings and evaluations of the suite `compact`, kept so that a run of it can be continued."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from splats.compact.high_rates import HighRatesConfig
from splats.training.config import SplatsConfig

from .command import CHECKOUT, command_line, fieldwright
from .kept import source_digest
from .metric import Metric
from .turns import seconds_in_turns

BARS = {
    "c3dgs plain": (10.0, 0.2),
    "c3dgs": (20.0, 0.2),
    "compact3d": (15.0, 0.3),
    "compact": (60.0, 0.3),
}
"""By what it is called: how much smaller than vanilla a file shall be, at which loss in dB."""
_HIGHER_RATES = tuple(
    word
    for field in fields(HighRatesConfig)
    if field.default != getattr(SplatsConfig, field.name)
    for word in (f"--{field.name.replace('_', '-')}", field.default)
)
VANILLA = {
    "vanilla": ("vanilla PLY", ()),
    "vanilla at higher rates": ("vanilla PLY at higher rates", _HIGHER_RATES),
}
"""What others are compared with: plain splats, and the same at the learning rates of the compact
methods; name of the file, and flags."""
CACHE = CHECKOUT / "build" / "compact-suite"
"""Finished trainings by settings and source; delete it to start again."""
_SOURCES = ("captures", "runs", "splats", "vq", "native", "scripts")


@dataclass(frozen=True)
class Scene:
    """A capture and how it is looked at."""

    name: str
    """Folder under shared/data/scenes."""
    downscale: int
    """Reduction of the photos."""


@dataclass(frozen=True)
class Scored:
    """A file on the held-out photos, read by a fresh process."""

    psnr: float
    """Decibels."""
    ssim: float
    """At most 1."""
    num_bytes: int
    """Of the file."""
    num_primitives: int
    """Gaussians in it."""


@dataclass(frozen=True)
class Run:
    """One finished training."""

    folder: Path
    """The run's folder."""
    summary: dict[str, Any]
    """Of `fieldwright train --json`."""

    @property
    def scene(self) -> Path:
        """The scene file."""
        return Path(self.summary["scene"])

    @property
    def scored(self) -> Scored:
        """Its scores."""
        found = self.summary
        return Scored(found["psnr"], found["ssim"], found["num_bytes"], found["num_primitives"])


def trained(scene: Scene, data: Path, method: str, steps: int, flags: Sequence[object]) -> Run:
    """A training of these settings, from the cache if this source has finished it before.

    One that was interrupted goes on from its newest checkpoint.
    """
    words = ["--data", data, "--downscale", scene.downscale, "--max-steps", steps, *flags]
    folder = CACHE / f"{scene.name}-{method}-{_digest(method, words)}"
    done = folder / "bench.json"
    if not done.exists():
        summary = fieldwright("train", method, "--out", folder, "--resume", *words)
        if summary["interrupted_by"] is not None:
            raise RuntimeError(f"{folder} was stopped by {summary['interrupted_by']}; run again.")
        done.write_text(json.dumps(summary))
    return Run(folder, json.loads(done.read_text()))


def scored(path: Path, scene: Scene, data: Path) -> Scored:
    """`fieldwright eval` of a file."""
    size = path.stat().st_size
    done = path.with_name(f"{path.name}.{size}.scores.json")
    if not done.exists():
        found = fieldwright("eval", path, "--data", data, "--downscale", scene.downscale)
        done.write_text(json.dumps(found))
    found = json.loads(done.read_text())
    return Scored(found["psnr"], found["ssim"], size, found["num_primitives"])


def derived(run: Run, name: str, verb: str, *flags: object) -> tuple[Path, dict[str, Any]]:
    """A file that `convert` or `compress` makes of a run's scene, made once."""
    path = run.folder / name
    done = run.folder / f"{name}.json"
    if not done.exists():
        found = fieldwright(verb, run.scene, path, "--overwrite", *flags)
        done.write_text(json.dumps(found))
    return path, json.loads(done.read_text())


def training_times(
    label: str, scene: Scene, data: Path, steps: int, methods: Sequence[str], *flags: object
) -> Iterator[Metric]:
    """Seconds of each method's command, and how they compare with those of vanilla, the first."""
    words = ("--data", data, "--downscale", scene.downscale, "--max-steps", steps, *flags)
    with tempfile.TemporaryDirectory() as folder:
        outs = {method: ("--out", Path(folder) / method, "--no-evaluate") for method in methods}
        commands = {m: command_line("train", m, *out, *words) for m, out in outs.items()}
        seconds = seconds_in_turns(commands)
    for method, taken in seconds.items():
        title = f"{label}: {method}: {steps} steps"
        yield Metric(title, taken, "s", "lower", 0.3)
        if method != methods[0]:
            limit = 1.1 if method == "compact" else None
            times = taken / seconds[methods[0]]
            yield Metric(f"{title} beside vanilla", times, "x", "lower", 0.3, limit)


def _digest(*parts: object) -> str:
    """Of settings and source."""
    text = json.dumps([str(part) for part in parts]) + source_digest(_SOURCES)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
