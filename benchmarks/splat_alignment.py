"""Similarities between splats of one scene that share no Gaussian, of random scale and pose."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from captures import Similarity
from registration import Registration, register
from splats import Gaussians
from splats.formats import load

from .command import fieldwright, real_data
from .kept import FOLDER, kept, source_digest
from .metric import Metric
from .registration_pairs import random_motion as random_pose
from .registration_trials import OURS_SOURCES

SIMILARITY_STARTS, QUICK_SIMILARITY_STARTS = 20, 3
"""Random similarities per pair of splats."""
HALF_STEPS = 1000
"""Of each training on half of the photos of a capture."""


def run(*, quick: bool) -> Iterator[Metric]:
    """Random similarities, scale 0.1 to 10, between disjoint halves and levels of detail."""
    starts = QUICK_SIMILARITY_STARTS if quick else SIMILARITY_STARTS
    digest = source_digest((*OURS_SOURCES, "registration/splat_clouds.py"))
    for name, first, second in _splat_pairs():
        label = f"Sim(3), {name}, {starts} starts"
        compute = partial(_similarity_trials, first, second, starts)
        found = kept("registration", digest, label, compute)
        angles, scales, aligned = zip(*found, strict=True)
        yield Metric(f"{label}: aligned", 100 * float(np.mean(aligned)), "%", "higher", 0, 100.0)
        yield Metric(f"{label}: largest rotation error", max(angles), "deg", "lower", 0.5, 0.5)
        yield Metric(f"{label}: largest scale error", max(scales), "%", "lower", 0.5, 0.5)
        moved = [first.transformed(_random_similarity(seed, second)) for seed in range(3)]
        taken = [_seconds(item, second) for item in moved]
        yield Metric(f"Sim(3), {name}: median time", statistics.median(taken), "s", "lower", 0.3,
                     5.0)  # fmt: skip


def _seconds(source: Gaussians, target: Gaussians) -> float:
    start = time.perf_counter()
    register(source, target, with_scale=True)
    return time.perf_counter() - start


def _similarity_trials(
    first: Gaussians, second: Gaussians, starts: int
) -> list[tuple[float, float, bool]]:
    """(degrees, percent of the scale, called aligned) of each start."""
    outcomes = []
    for seed in range(starts):
        similarity = _random_similarity(seed, second)
        found = register(first.transformed(similarity), second, with_scale=True)
        outcomes.append((*_similarity_error(found, similarity.inverse()), found.converged))
    return outcomes


def _splat_pairs() -> Iterator[tuple[str, Gaussians, Gaussians]]:
    """Two sets of Gaussians of one scene that share none."""
    for name, file in (
        ("toy cat", "splats/toy-cat/scene.compressed.ply"),
        ("biker", "splats/biker"),
    ):
        path = real_data(file)
        if path is None:
            continue
        gaussians = load(path if path.is_file() else _ply_in(path))
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(gaussians)))
        half = len(gaussians) // 2
        yield f"{name}, disjoint halves", gaussians[order[:half]], gaussians[order[half:]]
    yield from _trained_halves()
    folder = real_data("splats/playbot_sog_lod")
    if folder is not None:
        fine, coarse, coarser = (load(folder / f"{level}_0") for level in (2, 3, 4))
        yield "playbot, levels of 31,000 and 125,000", coarse, fine
        yield "playbot, levels of 8,406 and 31,000", coarser, coarse


def _trained_halves() -> Iterator[tuple[str, Gaussians, Gaussians]]:
    """Two trainings on every other photo of a capture, none of which both have seen."""
    data = real_data("scenes/fox")
    if data is None:
        return
    described = json.loads((data / "transforms.json").read_text())
    halves = []
    for half in range(2):
        folder = FOLDER / "halves" / str(half)
        scene = folder / "run" / "scene.ply"
        if not scene.exists():
            folder.mkdir(parents=True, exist_ok=True)
            images = folder / "images"
            if not images.exists():
                images.symlink_to(data / "images")
            frames = described["frames"][half::2]
            (folder / "transforms.json").write_text(json.dumps(described | {"frames": frames}))
            fieldwright(
                "train", "splats", "--data", folder, "--out", folder / "run", "--overwrite",
                "--downscale", 4, "--max-steps", HALF_STEPS, "--no-evaluate",
            )  # fmt: skip
        halves.append(load(scene))
    yield "fox, trained on disjoint halves of its photos", halves[0], halves[1]


def _ply_in(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("*.ply"))))


def _random_similarity(seed: int, scene: Gaussians) -> Similarity:
    rng = np.random.default_rng(seed)
    reach = float(np.ptp(scene.means.numpy(), axis=0).max()) / 2
    motion = torch.from_numpy(random_pose(rng, reach))
    scale = float(10 ** rng.uniform(-1, 1))
    return Similarity(scale, motion[:3, :3], scale * motion[:3, 3])


def _similarity_error(found: Registration, truth: Similarity) -> tuple[float, float]:
    """(degrees, percent of the scale)."""
    gap = float((found.similarity.rotation - truth.rotation).norm())
    degrees = float(np.degrees(2 * np.arcsin(min(1.0, gap / np.sqrt(8)))))
    return degrees, 100 * abs(found.scale / truth.scale - 1)
