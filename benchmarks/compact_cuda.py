"""Compact splats on a GPU: the trained methods of the suite `compact`, with more steps.

Trainings run beside each other, as each keeps a GPU busy for a small part of its time; the rows of
times at the end run alone. Without a CUDA device there are no rows.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

import torch

from .command import fieldwright, real_data
from .compact_runs import Run, Scene, Scored, scored, trained
from .metric import Metric

SCENES = (Scene("fox", 4), Scene("lego_400", 1), Scene("dance_rig", 1), Scene("ethiopian_head", 1))
STEPS, QUICK_STEPS = 7000, 300
"""The shorter of the two budgets that papers report."""
TIMED_STEPS = 1000
AT_ONCE = 8
"""Trainings beside each other."""
SMALLER = 60.0
"""What `compact` is asked for: the size of vanilla over this."""
FILES = {
    "c3dgs plain": ("c3dgs", "plain.fwa", 10.0, 0.2),
    "c3dgs": ("c3dgs", "scene.fwa", 20.0, 0.2),
    "compact3d": ("compact3d", "scene.fwa", 15.0, 0.3),
    "compact": ("compact", "scene.fwa", SMALLER, 0.3),
}
"""Method, file, how much smaller than vanilla it shall be, and at which loss in decibels."""

logger = logging.getLogger(__name__)


def run(*, quick: bool) -> Iterator[Metric]:
    """Files of every method on every capture, means, then times."""
    if not torch.cuda.is_available():
        logger.warning("The suite compact_cuda needs a CUDA device.")
        return
    steps = QUICK_STEPS if quick else STEPS
    scenes = [
        (s, d) for s in SCENES[: 1 if quick else None] if (d := real_data(f"scenes/{s.name}"))
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        vanilla = list(pool.map(lambda s: _train(*s, "splats", steps), scenes))
        jobs = []
        for (scene, data), plain in zip(scenes, vanilla, strict=True):
            size = (plain.folder / "scene.ply").stat().st_size
            flags = {"compact": ("--target-size", round(size / SMALLER))}
            methods = ("compact", "c3dgs", "compact3d")
            jobs += [(scene, data, name, steps, *flags.get(name, ())) for name in methods]
        found = list(pool.map(lambda job: _train(*job), jobs))
    runs = {(job[0].name, job[2]): run for job, run in zip(jobs, found, strict=True)}
    ratios: list[float] = []
    losses: list[float] = []
    for (scene, data), plain in zip(scenes, vanilla, strict=True):
        files = {"vanilla PLY": scored(plain.folder / "scene.ply", scene, data)}
        for name, (method, file, _, _) in FILES.items():
            files[name] = scored(runs[scene.name, method].folder / file, scene, data)
        yield from _rows(f"CUDA, {steps:,} steps, {scene.name}", files)
        ratios.append(files["vanilla PLY"].num_bytes / files["compact"].num_bytes)
        losses.append(files["vanilla PLY"].psnr - files["compact"].psnr)
    label = f"CUDA, {steps:,} steps, mean of {len(scenes)} captures: compact beside vanilla"
    yield Metric(f"{label}: smaller", fmean(ratios), "x", "higher", 0.05, SMALLER)
    yield Metric(f"{label}: loss", fmean(losses), "dB", "lower", 0.5, 0.3)
    yield from _times(*scenes[0], 100 if quick else TIMED_STEPS)


def _train(scene: Scene, data: Path, method: str, steps: int, *flags: object) -> Run:
    return trained(scene, data, method, steps, ("--device", "cuda", *flags))


def _rows(label: str, files: dict[str, Scored]) -> Iterator[Metric]:
    """Each file, what it lost beside vanilla, and `compact` beside the two published methods."""
    plain, ours = files["vanilla PLY"], files["compact"]
    for name, found in files.items():
        yield Metric(f"{label}: {name}: size", found.num_bytes, "B", "lower", 0.05)
        yield Metric(f"{label}: {name}: PSNR", found.psnr, "dB", "higher", 0.01)
        yield Metric(f"{label}: {name}: SSIM", found.ssim, "", "higher", 0.01)
        if name not in FILES:
            continue
        _, _, smaller, loss = FILES[name]
        times = plain.num_bytes / found.num_bytes
        yield Metric(f"{label}: {name}: smaller", times, "x", "higher", 0.05, smaller)
        yield Metric(f"{label}: {name}: loss", plain.psnr - found.psnr, "dB", "lower", 0.5, loss)
    for name in ("c3dgs", "compact3d"):
        text = f"{label}: compact beside {name}"
        times = files[name].num_bytes / ours.num_bytes
        yield Metric(f"{text}: smaller", times, "x", "higher", 0.1)
        yield Metric(f"{text}: better", ours.psnr - files[name].psnr, "dB", "higher", 0.1)


def _times(scene: Scene, data: Path, steps: int) -> Iterator[Metric]:
    """A training of each method alone."""
    seconds = {}
    for method in ("splats", "compact", "c3dgs", "compact3d"):
        words = ("--data", data, "--downscale", scene.downscale, "--device", "cuda")
        with tempfile.TemporaryDirectory() as folder:
            out = ("--out", Path(folder) / "run", "--no-evaluate", "--max-steps", steps)
            seconds[method] = fieldwright("train", method, *out, *words)["seconds"]
    for method, taken in seconds.items():
        label = f"CUDA, {scene.name}: {method}: {steps:,} steps"
        yield Metric(label, taken, "s", "lower", 0.3)
        if method != "splats":
            times = taken / seconds["splats"]
            limit = 1.1 if method == "compact" else None
            yield Metric(f"{label} beside vanilla", times, "x", "lower", 0.3, limit)
