"""Fields: kernels in samples per second, training on photos, frames, parameters, and bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from captures import Cameras, load_capture
from captures.evaluation import evaluate
from fields import Samples, camera_rays, composite
from fields.tensors import LocalPairs, VmFactors, cp_features, vm_features
from fields.tensors.cp import cp_reference
from fields.tensors.vm import vm_reference
from fields.trivec import Octree, TrivecField, TrivecRenderer
from fields.trivec.config import TrivecConfig
from fields.trivec.files import load_scene
from fields.trivec.method import TrivecMethod
from fields.trivec.refinement import fresh
from fields.volume import composite as composite_twin
from runs import RunDirectory, config_from_json, latest_checkpoint

from .command import fieldwright, real_data
from .fields_rate import rate
from .metric import Metric
from .timing import compare

TWIN_RAYS = 256
"""Rays that the slow twin is timed on."""
BUDGET_BYTES = 1_000_000
"""Size that a coded field of `lego_400` has to fit."""


def run(*, quick: bool) -> Iterator[Metric]:
    """Kernels first, then a field from real photos, its frames and its coded file."""
    yield from _trivec_kernels(quick=quick)
    yield from _packed(quick=quick)
    yield from _factors(quick=quick)
    data = real_data("scenes/lego_400")
    if data is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        yield from _training(data, Path(folder), quick=quick)


def shell(level: int, *, rank: int = 16, nodes: int = 8) -> TrivecField:
    """Leaves around a sphere's surface, faint, so that rays pass through all of them."""
    side = 2**level
    axis = torch.arange(side)
    cells = torch.cartesian_prod(axis, axis, axis)
    distance = ((cells + 0.5) / side - 0.5).norm(dim=1)
    cells = cells[(distance - 0.4).abs() < 0.9 / side]
    tree = Octree(torch.full((3,), -1.0), 2.0, torch.full((len(cells),), level), cells)
    tree = tree.subset(tree.morton_order())
    return fresh(
        tree,
        rank=rank,
        nodes=nodes,
        sh_degree=1,
        unit=2 / 256,
        generator=torch.Generator().manual_seed(0),
    )


def look(size: int) -> Cameras:
    """A square image of the shell from outside."""
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[2, 3] = 2.6
    focal = 1.2 * size
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras(viewmat[None], K[None], size, size)


def _trivec_kernels(*, quick: bool) -> Iterator[Metric]:
    """Rays through leaves, marching included."""
    names = ("vectors", "densities", "colors")
    field = shell(4 if quick else 5)
    held = {name: getattr(field, name).clone().requires_grad_() for name in names}
    learned = TrivecRenderer(replace(field, **held))
    renderer = TrivecRenderer(field)
    rays = camera_rays(look(64 if quick else 256))
    shares = torch.full((len(rays),), 0.5)
    colors = learned.trace(rays, shares)[0].colors
    assert colors.grad_fn is not None
    samples = colors.grad_fn.tape.num_samples  # pyright: ignore[reportAttributeAccessIssue]

    def forward() -> None:
        with torch.no_grad():
            renderer.trace(rays, shares)

    def forward_backward() -> None:
        seen = learned.trace(rays, shares)[0]
        torch.autograd.grad(seen.colors.sum(), list(held.values()))

    few = rays[:: max(1, len(rays) // TWIN_RAYS)]

    def twin() -> None:
        with torch.no_grad():
            renderer.twin(few, torch.full((len(few),), 0.5))

    times = compare({"forward": forward, "both": forward_backward}, rounds=3 if quick else 7)
    slow = compare({"twin": twin}, rounds=2)["twin"].best * len(rays) / len(few)
    name = f"tri-vector leaves, R 16 D 8, {len(field):,} leaves"
    fast = times["forward"].best
    rate = samples / fast / 1e6
    yield Metric(f"{name}: density and color along rays", rate, "M samples/s", "higher", 0.3, 30)
    ratio = times["both"].best / fast
    yield Metric(f"{name}: forward and backward / forward", ratio, "x", "lower", 0.3, 4)
    yield Metric(f"{name}: twin / kernel", slow / fast, "x", "higher", 0.5)


def _packed(*, quick: bool) -> Iterator[Metric]:
    """Blending alone."""
    rays, each = (512 if quick else 8192), 64
    random = torch.Generator().manual_seed(0)
    edges = torch.rand(rays, each + 1, generator=random).sort(dim=1).values * 4
    samples = Samples.from_edges(edges)
    densities = torch.rand(rays * each, generator=random)
    colors = torch.rand(rays * each, 3, generator=random)
    leaves = [densities.clone().requires_grad_(), colors.clone().requires_grad_()]

    def forward() -> None:
        composite(densities, colors, samples)

    def both() -> None:
        torch.autograd.grad(composite(leaves[0], leaves[1], samples).colors.sum(), leaves)

    def twin() -> None:
        composite_twin(densities, colors, samples)

    name = "packed volume rendering"
    yield from _feature_rows(name, rays * each, forward, both, twin, limit=None, quick=quick)


def _factors(*, quick: bool) -> Iterator[Metric]:
    """Features of local CP tensors and of planes and lines, along rays."""
    random = torch.Generator().manual_seed(0)
    runs, each, cubes, rank = (2_000 if quick else 40_000), 8, 2_000, 16
    cube = torch.randint(0, cubes, (runs,), generator=random).repeat_interleave(each)
    start = torch.rand(runs, 1, 3, generator=random)
    end = torch.rand(runs, 1, 3, generator=random)
    along = torch.linspace(0, 1, each)[:, None]
    count = runs * each
    pairs = LocalPairs(
        torch.arange(count + 1),
        cube.int(),
        (start + along * (end - start)).reshape(count, 3),
        torch.ones(count),
    )
    vectors = torch.randn(cubes, 3, 9, rank, generator=random)
    learned = vectors.clone().requires_grad_()
    yield from _feature_rows(
        "local CP density, R 16, 9 nodes, 2,000 tensors",
        count,
        lambda: cp_features(vectors, pairs, summed=True),
        lambda: torch.autograd.grad(cp_features(learned, pairs, summed=True).sum(), [learned]),
        lambda: cp_reference(vectors, pairs, summed=True),
        limit=120,
        quick=quick,
    )
    size, rays = (60 if quick else 300), (200 if quick else 4096)
    p0, p1, p2 = (torch.randn(size, size, rank, generator=random) for _ in range(3))
    l0, l1, l2 = (torch.randn(size, rank, generator=random) for _ in range(3))
    planes, lines = (p0, p1, p2), (l0, l1, l2)
    factors = VmFactors(planes, lines)
    leaves = [item.clone().requires_grad_() for item in (*planes, *lines)]
    held = VmFactors((leaves[0], leaves[1], leaves[2]), (leaves[3], leaves[4], leaves[5]))
    ends = torch.rand(rays, 2, 3, generator=random)
    along = torch.linspace(0, 1, 64)[:, None]
    points = (ends[:, :1] + along * (ends[:, 1:] - ends[:, :1])).reshape(-1, 3)
    yield from _feature_rows(
        f"VM density, 3 x R 16, {size} nodes",
        len(points),
        lambda: vm_features(factors, points, summed=True),
        lambda: torch.autograd.grad(vm_features(held, points, summed=True).sum(), leaves),
        lambda: vm_reference(factors, points, summed=True),
        limit=45,
        quick=quick,
    )


def _feature_rows(
    name: str,
    count: int,
    forward: Callable[[], object],
    both: Callable[[], object],
    twin: Callable[[], object],
    *,
    limit: float | None,
    quick: bool,
) -> Iterator[Metric]:
    calls = {"forward": forward, "both": both, "twin": twin}
    times = compare(calls, rounds=3 if quick else 7)
    fast = times["forward"].best
    yield Metric(f"{name}: forward", count / fast / 1e6, "M samples/s", "higher", 0.3, limit)
    ratio = times["both"].best / fast
    yield Metric(f"{name}: forward and backward / forward", ratio, "x", "lower", 0.3, 4)
    yield Metric(f"{name}: twin / kernel", times["twin"].best / fast, "x", "higher", 0.5)


def _training(data: Path, folder: Path, *, quick: bool) -> Iterator[Metric]:
    """Trivec from photos: quality in a budget of time, frames, and the coded file."""
    seconds = 10 if quick else 150
    scale = ("--downscale", 4) if quick else ()
    out = folder / "exact"
    arguments = ("--data", data, "--out", out, "--max-seconds", seconds, *scale)
    found = fieldwright("train", "trivec", *arguments)
    name = f"trivec, lego_400, {seconds} s"
    yield Metric(f"{name}: PSNR", found["psnr"], "dB", "higher", 0.02, 28)
    yield Metric(f"{name}: SSIM", found["ssim"], "", "higher", 0.02)
    yield Metric(f"{name}: leaves", found["num_primitives"], "")
    yield Metric(f"{name}: exact file", found["num_bytes"] / 1e6, "MB", "lower", 0.1)
    memory = found["peak_memory_bytes"] / 1e9
    yield Metric(f"{name}: peak memory", memory, "GB", "lower", 0.2)
    yield from _frames(out, data, name)
    coded = folder / "coded"
    arguments = ("--data", data, "--out", coded, "--max-seconds", seconds, *scale)
    small = fieldwright("train", "trivec", *arguments, "--target-size", BUDGET_BYTES)
    yield Metric(f"{name}: coded file", small["num_bytes"] / 1e6, "MB", "lower", 0.01, 1.0)
    itself = _float_psnr(coded, data, downscale=4 if quick else None)
    loss = itself - small["psnr"]
    yield Metric(f"{name}: coded file: loss to its float32 self", loss, "dB", "lower", 0.5, 0.3)
    loss = found["psnr"] - small["psnr"]
    yield Metric(f"{name}: coded file: loss to a run without budget", loss, "dB", "lower", 0.5)
    if not quick:
        yield from rate("trivec", Path(found["scene"]), data, folder)


def _float_psnr(run_folder: Path, data: Path, *, downscale: int | None) -> float:
    """Held-out PSNR of the numbers that a run coded, from its last checkpoint."""
    directory = RunDirectory.open(run_folder)
    checkpoint = latest_checkpoint(directory.checkpoints)
    assert checkpoint is not None
    config = config_from_json(TrivecConfig, directory.config["method"])
    capture = load_capture(data, downscale=downscale)
    method = TrivecMethod.create(config, capture, device=torch.device("cpu"), seed=0)
    method.load_state_dict(checkpoint.trainee)
    result = evaluate(method.renderable(), capture, frame="capture", background=torch.ones(3))
    return result.psnr


def _frames(run_folder: Path, data: Path, name: str) -> Iterator[Metric]:
    """Seconds of frames along an orbit."""
    scene = load_scene(run_folder)
    capture = load_capture(data)
    camera = capture.T_source_capture.apply_to_cameras(capture.cameras[[capture.test[0]]])
    for size in (256, 800):
        view = camera.resized(size, size)
        seconds = compare({"frame": lambda view=view: scene.render(view)}, rounds=5)["frame"].median
        if size == 256:
            yield Metric(f"{name}: preview at 256 x 256", 1 / seconds, "fps", "higher", 0.3, 8)
        else:
            yield Metric(f"{name}: frame at 800 x 800", seconds, "s", "lower", 0.3, 2)
