"""Speed and memory of the native rasterizer; every ratio is taken in turns within one run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from splats import _native, rasterization
from splats.rasterizer.cpu import CpuBackend

from . import peak_memory
from .command import real_data
from .metric import Metric
from .scene import Scene, random_scene
from .timing import compare

INSTRUCTION_SETS = ("avx512", "avx2", "portable")
"""Fastest first."""


def run(*, quick: bool) -> Iterator[Metric]:
    """Blending, whole passes, the torch twin, instruction sets, threads, memory, a real scene."""
    count, width, height = (3_000, 160, 120) if quick else (300_000, 1280, 720)
    scene = random_scene(count, width, height, size=0.012)
    yield from _passes(scene)
    yield from _twin(random_scene(300 if quick else 2_000, 160, 120, size=0.05))
    yield from _instruction_sets(scene)
    yield from _threads(scene)
    count = 10_000 if quick else 1_000_000
    yield Metric(
        f"peak memory, forward + backward, {count:,} Gaussians, {width}x{height}",
        peak_memory.of_forward_backward(count, width, height) / 1e9,
        "GB",
        "lower",
        0.1,
        3.0,
    )
    garden = real_data("scenes/garden_gsplat/test_garden.npz")
    if garden is not None:
        yield _garden(garden)


def _blending(scene: Scene) -> tuple[Callable[[], object], int]:
    """Blending alone, and how many times it evaluates a Gaussian at a pixel.

    A tile of 8 x 8 pixels evaluates every Gaussian of its list until all pixels are opaque.
    """
    with torch.no_grad():
        _, _, meta = scene.render(backend="cpu")
    [bins] = CpuBackend().bin(
        meta["means2d"],
        meta["conics"],
        meta["opacities"],
        meta["depths"],
        meta["radii"],
        scene.width,
        scene.height,
        tile_size=16,
        tile_masks=None,
    )
    colors = scene.colors.detach()[:, 0].contiguous()
    image = torch.empty(scene.height, scene.width, 3)
    alpha, transmittance = torch.empty(2, scene.height, scene.width)
    used = torch.empty(bins.num_tiles, dtype=torch.int32)

    def call() -> None:
        written = (tensor.data_ptr() for tensor in (image, alpha, transmittance, used))
        _native.blend(bins, 3, colors.data_ptr(), 0, *written)

    call()
    return call, int(used.sum()) * 64


def _passes(scene: Scene) -> Iterator[Metric]:
    """Blending, forward and forward + backward."""
    blend, evaluations = _blending(scene)
    times = compare(
        {
            "blend": blend,
            "forward": scene.forward,
            "both": scene.forward_backward,
        }
    )
    blend_s, forward_s, both_s = (times[name].best for name in ("blend", "forward", "both"))
    size = f"{len(scene.means):,} Gaussians, {scene.width}x{scene.height}"
    rate = evaluations / blend_s / 1e9
    yield Metric(f"blending alone, {size}", rate, "1e9 evaluations/s", "higher", 0.2, 2.0)
    yield Metric("whole forward / blending alone", forward_s / blend_s, "x", "lower", 0.15, 1.5)
    yield Metric("forward + backward / forward", both_s / forward_s, "x", "lower", 0.15, 3.5)
    yield Metric(f"forward, SH degree 3, {size}", 1e3 * forward_s, "ms", "lower", 0.25)
    yield Metric(f"forward + backward, SH degree 3, {size}", 1e3 * both_s, "ms", "lower", 0.25)


def _twin(scene: Scene) -> Iterator[Metric]:
    """How much the kernels gain over the plain torch that defines them."""
    times = compare(
        {
            "native": lambda: scene.forward_backward(backend="cpu"),
            "torch": lambda: scene.forward_backward(backend="reference"),
        },
        rounds=3,
    )
    yield Metric(
        f"torch reference / native, forward + backward, {len(scene.means):,} Gaussians, "
        f"{scene.width}x{scene.height}",
        times["torch"].best / times["native"].best,
        "x",
        "higher",
        0.3,
    )


def _instruction_sets(scene: Scene) -> Iterator[Metric]:
    """Time of the slower instruction sets relative to the fastest of this processor."""
    chosen = _native.isa()
    usable = INSTRUCTION_SETS[INSTRUCTION_SETS.index(chosen) :]

    def using(name: str) -> Callable[[], object]:
        def call() -> None:
            _native.set_isa(name)
            scene.forward_backward()

        return call

    try:
        times = compare({name: using(name) for name in usable}, rounds=5)
    finally:
        _native.set_isa(chosen)
    for name in usable[1:]:
        ratio = times[name].best / times[chosen].best
        yield Metric(f"{name} / {chosen}, forward + backward", ratio, "x", "lower", 0.3)


def _threads(scene: Scene) -> Iterator[Metric]:
    """What a second thread gains."""
    chosen = _native.num_threads()
    if len(os.sched_getaffinity(0)) < 2:
        return

    def using(count: int) -> Callable[[], object]:
        def call() -> None:
            _native.set_num_threads(count)
            scene.forward_backward()

        return call

    try:
        times = compare({"one": using(1), "two": using(2)}, rounds=5)
    finally:
        _native.set_num_threads(chosen)
    ratio = times["one"].best / times["two"].best
    yield Metric("1 thread / 2 threads, forward + backward", ratio, "x", "higher", 0.15)


def _garden(file: Path) -> Metric:
    """The points of a real scene as small round Gaussians, whole forward pass."""
    data = np.load(file)
    count, width, height = len(data["means3d"]), int(data["width"]), int(data["height"])

    def forward() -> None:
        rasterization(
            torch.from_numpy(data["means3d"]),
            torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(count, 4),
            torch.full((count, 3), 0.01),
            torch.full((count,), 0.8),
            torch.from_numpy(data["colors"]).float() / 255,
            torch.from_numpy(data["viewmats"][:1]),
            torch.from_numpy(data["Ks"][:1]),
            width,
            height,
        )

    best = compare({"forward": forward})["forward"].best
    name = f"forward, points of the garden, {count:,} Gaussians, {width}x{height}"
    return Metric(name, 1e3 * best, "ms", "lower", 0.25)
