"""Training: what a step costs, and what real captures reach within a budget of wall time."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captures import Capture, load_capture
from splats import rasterization
from splats.training.config import SplatsConfig
from splats.training.losses import photometric_loss
from splats.training.method import SplatsMethod
from splats.training.optimizer import SelectiveAdam

from .command import fieldwright, real_data
from .metric import Metric
from .timing import compare

STEPS = 200
"""Steps that are timed: two intervals of refinement."""
EARLY, LATE = 200, 1800
"""Steps done before: while the first splats are still large, and when they have shrunk."""
VIEWS = 16
"""Training views that the parts of a step are timed on."""


@dataclass(frozen=True)
class Budget:
    """A run of `fieldwright train splats` with its default flags."""

    scene: str
    """Folder under shared/data/scenes."""
    downscale: int
    """Reduction of the photos."""
    seconds: float
    """Wall time, start-up included."""
    seeds: int = 1
    """Repetitions; the same budget gives other results for other seeds and loads."""
    limit: float | None = None
    """Held-out PSNR that the mean must reach, dB."""


BUDGETS = (
    Budget("fox", 4, 60, seeds=2, limit=27.5),
    Budget("fox", 4, 300, limit=28.5),
    Budget("lego_400", 1, 300, limit=32.0),
)
QUICK_BUDGETS = (Budget("fox", 8, 8, seeds=2), Budget("lego_400", 4, 8))


def run(*, quick: bool) -> Iterator[Metric]:
    """A step and its parts, memory, then the budgets from short to long."""
    fox = real_data("scenes/fox")
    if fox is not None:
        yield from _step(load_capture(fox, downscale=4), 2_000 if quick else 35_000)
        yield _memory(fox, 5_000 if quick else 100_000)
    for budget in QUICK_BUDGETS if quick else BUDGETS:
        data = real_data(f"scenes/{budget.scene}")
        if data is not None:
            yield from held_out(budget, data)


def _step(capture: Capture, count: int) -> Iterator[Metric]:
    """Whole steps early and late in a run, and the same work part by part."""
    config = SplatsConfig(max_gaussians=count, num_init=count, init="photos", coarse_until=0)
    trainee = SplatsMethod.create(config, capture, device=torch.device("cpu"), seed=0)
    size = f"{count:,} Gaussians, {capture.cameras.width}x{capture.cameras.height}"
    done, whole = 0, 0.0
    for begin in (EARLY, LATE):
        _advance(trainee, done, begin)
        start = time.perf_counter()
        _advance(trainee, begin, done := begin + STEPS)
        whole = (time.perf_counter() - start) / STEPS
        name = f"training step, {size}, steps {begin:,} to {done:,}"
        yield Metric(name, 1e3 * whole, "ms", "lower", 0.2, 19.0)
    parts = _parts(trainee, capture)
    for name, seconds in parts.items():
        yield Metric(f"of a late step: {name}", 1e3 * seconds, "ms", "lower", 0.3)
    rest = whole - sum(parts.values())
    yield Metric("of a late step: rest, refinement included", 1e3 * rest, "ms", "lower", 0.5)
    share = parts["rasterizer"] / whole
    yield Metric("rasterizer's share of a late step", share, "x", "higher", 0.2, 0.5)


def _advance(trainee: SplatsMethod, begin: int, end: int) -> None:
    """Steps of a run that takes LATE + STEPS of them, as its schedules go."""
    for step in range(begin, end):
        trainee.step(step, step / (LATE + STEPS))


def _parts(trainee: SplatsMethod, capture: Capture) -> dict[str, float]:
    """Median seconds per view of rasterizer, loss and optimizer on the trainee's Gaussians."""
    gaussians = trainee.gaussians()
    values = (
        gaussians.means,
        gaussians.quats,
        gaussians.log_scales.exp(),
        gaussians.logit_opacities.sigmoid(),
        gaussians.sh0,
        gaussians.shN,
    )
    leaves = [value.detach().clone().requires_grad_() for value in values]
    chosen = list(capture.train[:VIEWS])
    cameras = capture.cameras[chosen]
    photos = [capture.view(index).image for index in chosen]

    def render(view: int) -> tuple[Tensor, Tensor]:
        image, _, meta = rasterization(
            leaves[0],
            leaves[1],
            leaves[2],
            leaves[3],
            leaves[4],
            cameras.viewmats[view : view + 1].float(),
            cameras.Ks[view : view + 1].float(),
            cameras.width,
            cameras.height,
            sh_degree=3,
            sh_rest=leaves[5],
        )
        return image[0], meta["radii"][0, :, 0] > 0

    rendered = [render(view) for view in range(len(chosen))]
    images = [image.detach().requires_grad_() for image, _ in rendered]
    optimizer = SelectiveAdam([{"params": [leaf], "lr": 0.0} for leaf in leaves], eps=1e-15)
    for leaf in leaves:
        leaf.grad = torch.zeros_like(leaf)

    def rasterizer() -> None:
        for view in range(len(chosen)):
            image, _ = render(view)
            torch.autograd.grad(image.sum(), leaves)

    def loss() -> None:
        for image, photo in zip(images, photos, strict=True):
            torch.autograd.grad(photometric_loss(image, photo).loss, image)

    def adam() -> None:
        for _, visible in rendered:
            optimizer.step(visible)

    times = compare({"rasterizer": rasterizer, "L1 and SSIM": loss, "Adam": adam}, rounds=5)
    return {name: timing.median / len(chosen) for name, timing in times.items()}


def _memory(data: Path, count: int) -> Metric:
    """Peak resident memory of a training process with many Gaussians."""
    with tempfile.TemporaryDirectory() as folder:
        summary = _train(
            data,
            Path(folder) / "run",
            ("--downscale", 4, "--max-steps", 3 * STEPS, "--no-evaluate"),
            ("--max-gaussians", count, "--num-init", count, "--init", "photos"),
        )
    return Metric(
        f"peak memory of training {summary['num_primitives']:,} Gaussians, fox at 1/4",
        summary["peak_memory_bytes"] / 1e9,
        "GB",
        "lower",
        0.1,
        2.0,
    )


def held_out(budget: Budget, data: Path) -> Iterator[Metric]:
    """Scores of the scene file on the held-out photos, read by a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            _train(
                data,
                Path(folder) / f"seed{seed}",
                ("--downscale", budget.downscale, "--max-seconds", budget.seconds, "--seed", seed),
            )
            for seed in range(budget.seeds)
        ]

    def mean(key: str) -> float:
        return statistics.fmean(run[key] for run in runs)

    name = f"{budget.scene} at 1/{budget.downscale}, {budget.seconds:g} s"
    psnrs = [run["psnr"] for run in runs]
    over = "" if budget.seeds == 1 else f", mean of {budget.seeds} seeds"
    yield Metric(f"{name}: PSNR{over}", mean("psnr"), "dB", "higher", 0.01, budget.limit)
    if budget.seeds > 1:
        spread = max(psnrs) - min(psnrs)
        yield Metric(f"{name}: PSNR, best minus worst seed", spread, "dB", "lower", 1.0)
    yield Metric(f"{name}: SSIM{over}", mean("ssim"), "", "higher", 0.02)
    seconds = max(run["seconds"] for run in runs)
    yield Metric(f"{name}: wall time", seconds, "s", "lower", 0.05)
    yield Metric(f"{name}: steps{over}", mean("steps"), "")
    yield Metric(f"{name}: speed{over}", mean("steps") / mean("seconds"), "steps/s", "higher", 0.2)
    yield Metric(f"{name}: Gaussians{over}", mean("num_primitives"), "")
    memory = max(run["peak_memory_bytes"] for run in runs)
    yield Metric(f"{name}: peak memory", memory / 1e9, "GB", "lower", 0.1)


def _train(data: Path, out: Path, *flags: tuple[object, ...]) -> dict[str, Any]:
    words = [word for group in flags for word in group]
    return fieldwright("train", "splats", "--data", data, "--out", out, *words)
