"""Compact splats on a GPU: the trained methods of the suite `compact`, with more steps.

Trainings run beside each other, as each keeps a GPU busy for a small part of its time; the rows of
times at the end run alone. Without a CUDA device there are no rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch

from .command import real_data
from .compact_runs import BARS, Run, Scene, Scored, scored, trained, training_times
from .metric import Metric

SCENES = (Scene("fox", 4), Scene("lego_400", 1), Scene("dance_rig", 1), Scene("ethiopian_head", 1))
STEPS, QUICK_STEPS = 7000, 300
"""The shorter of the two budgets that papers report."""
TIMED_STEPS = 1000
DEVICE = ("--device", "cuda")
AT_ONCE = 8
"""Trainings beside each other."""
SMALLER, LOSS = BARS["compact"]
"""Size of vanilla over what `compact` is asked for, and what it may lose in decibels."""

logger = logging.getLogger(__name__)


def run(*, quick: bool) -> Iterator[Metric]:
    """Files of every method on every capture, means, then times."""
    if not torch.cuda.is_available():
        logger.warning("The suite compact_cuda needs a CUDA device.")
        return
    steps = QUICK_STEPS if quick else STEPS
    chosen = SCENES[: 1 if quick else None]
    scenes = {s: data for s in chosen if (data := real_data(f"scenes/{s.name}"))}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # In the order of the queue, so that what waits for vanilla waits for what has begun.
        vanilla = {s: pool.submit(_train, s, data, "splats", steps) for s, data in scenes.items()}
        found = {
            s: [
                pool.submit(_files, s, data, method, steps, vanilla[s])
                for method in ("c3dgs", "compact3d", "compact")
            ]
            for s, data in scenes.items()
        }
    ratios: list[float] = []
    losses: list[float] = []
    for scene, plain in vanilla.items():
        files = {"vanilla PLY": _ply(plain.result())}
        for future in found[scene]:
            files |= future.result()
        yield from _rows(f"CUDA, {steps:,} steps, {scene.name}", files)
        ratios.append(files["vanilla PLY"].num_bytes / files["compact"].num_bytes)
        losses.append(files["vanilla PLY"].psnr - files["compact"].psnr)
    label = f"CUDA, {steps:,} steps, mean of {len(scenes)} captures: compact beside vanilla"
    yield Metric(f"{label}: smaller", fmean(ratios), "x", "higher", 0.05, SMALLER)
    yield Metric(f"{label}: loss", fmean(losses), "dB", "lower", 0.5, LOSS)
    first = next(iter(scenes))
    steps = 100 if quick else TIMED_STEPS
    yield from training_times(f"CUDA, {first.name}", first, scenes[first], steps, *DEVICE)


def _train(scene: Scene, data: Path, method: str, steps: int, *flags: object) -> Run:
    return trained(scene, data, method, steps, (*DEVICE, "--num-threads", 2, *flags))


def _ply(vanilla: Run) -> Scored:
    """The PLY beside the exact asset, which holds the same numbers."""
    size = (vanilla.folder / "scene.ply").stat().st_size
    return replace(vanilla.scored, num_bytes=size)


def _files(
    scene: Scene, data: Path, method: str, steps: int, vanilla: Future[Run]
) -> dict[str, Scored]:
    """A training and the scores of its files, as `BARS` calls them."""
    if method == "compact":
        size = round(_ply(vanilla.result()).num_bytes / SMALLER)
        return {method: _train(scene, data, method, steps, "--target-size", size).scored}
    run = _train(scene, data, method, steps)
    if method != "c3dgs":
        return {method: run.scored}
    plain = scored(run.folder / "plain.fwa", scene, data)
    return {"c3dgs plain": plain, method: run.scored}


def _rows(label: str, files: dict[str, Scored]) -> Iterator[Metric]:
    """Each file, what it lost beside vanilla, and `compact` beside the two published methods."""
    plain, ours = files["vanilla PLY"], files["compact"]
    for name, found in files.items():
        yield Metric(f"{label}: {name}: size", found.num_bytes, "B", "lower", 0.05)
        yield Metric(f"{label}: {name}: PSNR", found.psnr, "dB", "higher", 0.01)
        yield Metric(f"{label}: {name}: SSIM", found.ssim, "", "higher", 0.01)
        if name not in BARS:
            continue
        smaller, loss = BARS[name]
        times = plain.num_bytes / found.num_bytes
        yield Metric(f"{label}: {name}: smaller", times, "x", "higher", 0.05, smaller)
        yield Metric(f"{label}: {name}: loss", plain.psnr - found.psnr, "dB", "lower", 0.5, loss)
    for name in ("c3dgs", "compact3d"):
        text = f"{label}: compact beside {name}"
        times = files[name].num_bytes / ours.num_bytes
        yield Metric(f"{text}: smaller", times, "x", "higher", 0.1)
        yield Metric(f"{text}: better", ours.psnr - files[name].psnr, "dB", "higher", 0.1)
