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

import torch

from .command import real_data
from .compact_curves import beside, beside_vanilla, means
from .compact_runs import BARS, VANILLA, Run, Scene, Scored, scored, trained, training_times
from .metric import Metric

SCENES = (Scene("fox", 4), Scene("lego_400", 1), Scene("dance_rig", 1), Scene("ethiopian_head", 1))
METHODS = ("c3dgs", "compact3d", "compact")
STEPS, QUICK_STEPS = 7000, 300
"""The shorter of the two budgets that papers report."""
TIMED_STEPS = 500
TIMED = ("splats", "compact")
"""Methods whose training time is compared, the one that the others are compared with first; with
few steps, as a card may be lent for minutes."""
DEVICE = ("--device", "cuda")
AT_ONCE = 12
"""Trainings beside each other."""
TIMES_SMALLER = (60, 20)
"""Further points of the curve of `compact`: its target sizes, as shares of vanilla."""
_BARS_OF_EACH = {name: bar for name, bar in BARS.items() if name != "compact"}
"""That of `compact` is one of means."""

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
                pool.submit(_vanilla, s, data, steps, vanilla[s]),
                *(pool.submit(_files, s, data, name, steps) for name in METHODS),
                *(pool.submit(_sized, s, data, x, steps, vanilla[s]) for x in TIMES_SMALLER),
            ]
            for s, data in scenes.items()
        }
        points: list[dict[str, Scored]] = []
        for scene, futures in found.items():
            points.append({})
            for future in futures:
                points[-1] |= future.result()
            yield from _rows(f"CUDA, {steps:,} steps, {scene.name}", points[-1])
    yield from means(f"CUDA, {steps:,} steps, ", points)
    first = next(iter(scenes))
    steps = 100 if quick else TIMED_STEPS
    label = f"CUDA, {first.name}"
    yield from training_times(label, first, scenes[first], steps, TIMED, *DEVICE)


def _train(scene: Scene, data: Path, method: str, steps: int, *flags: object) -> Run:
    return trained(scene, data, method, steps, (*DEVICE, "--num-threads", 2, *flags))


def _vanilla(scene: Scene, data: Path, steps: int, plain: Future[Run]) -> dict[str, Scored]:
    """Plain splats at either rates; those at the published ones are under way."""
    found = {}
    for name, flags in VANILLA.values():
        run = _train(scene, data, "splats", steps, *flags) if flags else plain.result()
        found[name] = _ply(run)
    return found


def _ply(vanilla: Run) -> Scored:
    """The PLY beside the exact asset, which holds the same numbers."""
    size = (vanilla.folder / "scene.ply").stat().st_size
    return replace(vanilla.scored, num_bytes=size)


def _files(scene: Scene, data: Path, method: str, steps: int) -> dict[str, Scored]:
    """A training and the scores of its files, as `BARS` calls them."""
    run = _train(scene, data, method, steps)
    if method != "c3dgs":
        return {method: run.scored}
    plain = scored(run.folder / "plain.fwa", scene, data)
    return {"c3dgs plain": plain, method: run.scored}


def _sized(
    scene: Scene, data: Path, times: int, steps: int, vanilla: Future[Run]
) -> dict[str, Scored]:
    """`compact` that is so many times smaller than vanilla."""
    size = round(_ply(vanilla.result()).num_bytes / times)
    run = _train(scene, data, "compact", steps, "--target-size", size)
    return {f"compact {times}x": run.scored}


def _rows(label: str, files: dict[str, Scored]) -> Iterator[Metric]:
    """Each file, what it lost beside vanilla, and `compact` beside the two published methods."""
    for name, found in files.items():
        yield Metric(f"{label}: {name}: size", found.num_bytes, "B", "lower", 0.05)
        yield Metric(f"{label}: {name}: PSNR", found.psnr, "dB", "higher", 0.01)
        yield Metric(f"{label}: {name}: SSIM", found.ssim, "", "higher", 0.01)
        if name not in [file for file, _ in VANILLA.values()]:
            yield from beside_vanilla(label, name, files, *_BARS_OF_EACH.get(name, (None, None)))
    ours = [found for name, found in files.items() if name.split()[0] == "compact"]
    for name in ("c3dgs plain", "c3dgs", "compact3d"):
        yield from beside(f"{label}: compact beside {name}", ours, files[name])
