"""Speed of the hash grid: samples per second, the cost of its gradient, the torch twin, threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from splats import _native
from splats.hash_grid import HashGrid, HashGridLayout, hash_grid_reference

from .metric import Metric
from .timing import compare

SAMPLES_PER_RAY = 128
"""Neighbors along a ray share cells, as in volume rendering."""
LAYOUTS = {
    "16 x 2 x 2^19": (HashGridLayout(levels=16, log2_entries=19, growth=1.447), 3.0),
    "8 x 2 x 2^17": (HashGridLayout(levels=8, log2_entries=17, growth=2.0), 15.0),
}
"""Levels x features x entries, and the least million samples per second on two cores."""


def run(*, quick: bool) -> Iterator[Metric]:
    """Every layout on samples along rays, then the comparisons on the smaller one."""
    count = 1 << (12 if quick else 18)
    for name, (layout, limit) in LAYOUTS.items():
        yield from _passes(name, HashGrid(layout), along_rays(count), limit)
    small = HashGrid(LAYOUTS["8 x 2 x 2^17"][0])
    yield _twin(small, along_rays(count >> 3))
    if len(os.sched_getaffinity(0)) >= 2:
        yield _threads(small, along_rays(count))


def along_rays(count: int) -> Tensor:
    """`count` points on short rays through the unit cube, `[count, 3]`."""
    generator = torch.Generator().manual_seed(0)
    rays = max(1, count // SAMPLES_PER_RAY)
    origins = torch.rand(rays, 1, 3, generator=generator)
    directions = torch.randn(rays, 1, 3, generator=generator)
    steps = torch.linspace(0, 0.5, SAMPLES_PER_RAY)[:, None]
    points = origins + steps * torch.nn.functional.normalize(directions, dim=-1)
    return points.clamp(0, 1).reshape(-1, 3).contiguous()


def _forward(grid: HashGrid, points: Tensor) -> Callable[[], object]:
    def call() -> None:
        with torch.no_grad():
            grid(points)

    return call


def _both(grid: HashGrid, points: Tensor) -> Callable[[], object]:
    weights = torch.ones(len(points), grid.layout.num_outputs)

    def call() -> None:
        grid.table.grad = None
        grid(points).backward(weights)

    return call


def _passes(name: str, grid: HashGrid, points: Tensor, limit: float) -> Iterator[Metric]:
    times = compare({"forward": _forward(grid, points), "both": _both(grid, points)}, rounds=5)
    rate = len(points) / times["forward"].best / 1e6
    yield Metric(f"{name}, forward along rays", rate, "1e6 samples/s", "higher", 0.3, limit)
    ratio = times["both"].best / times["forward"].best
    yield Metric(f"{name}, forward + backward / forward", ratio, "x", "lower", 0.3, 4.0)


def _twin(grid: HashGrid, points: Tensor) -> Metric:
    def twin() -> None:
        with torch.no_grad():
            hash_grid_reference(points, grid.table, grid.layout)

    times = compare({"native": _forward(grid, points), "torch": twin}, rounds=3)
    ratio = times["torch"].best / times["native"].best
    return Metric(
        f"torch reference / native, forward, {len(points):,} points", ratio, "x", "higher", 0.3
    )


def _threads(grid: HashGrid, points: Tensor) -> Metric:
    chosen = _native.num_threads()

    def using(count: int) -> Callable[[], object]:
        both = _both(grid, points)

        def call() -> None:
            _native.set_num_threads(count)
            both()

        return call

    try:
        times = compare({"one": using(1), "two": using(2)}, rounds=3)
    finally:
        _native.set_num_threads(chosen)
    ratio = times["one"].best / times["two"].best
    return Metric("1 thread / 2 threads, forward + backward", ratio, "x", "higher", 0.3)
