"""Pairwise registration: strict success and false accepts beside rivals, time, and Sim(3)."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from captures import Similarity
from registration import Registration, register
from registration.preparation import NORMAL_RADIUS, prepare
from registration.refinement import pose_of, refine
from registration.units import measure
from splats import Gaussians
from splats.formats import load

from .command import real_data
from .metric import Metric
from .registration_pairs import CONDITIONS, DISJOINT, Pair, harder, pose_error, real_pairs
from .registration_pairs import random_motion as random_pose
from .registration_rivals import Claim, rivals

STARTS, QUICK_STARTS = 200, 20
"""Random starts of ours per pair and condition."""
RIVAL_STARTS, QUICK_RIVAL_STARTS = 10, 2
"""Random starts of each rival: they take up to several seconds each."""

_OURS = "ours"
_WRONG_DEG, _WRONG_LIMITS = 5.0, 5.0
_logger = logging.getLogger(__name__)


def run(*, quick: bool) -> Iterator[Metric]:
    """Success on real pairs, time of a LiDAR pair, similarities between splats."""
    yield from _success(quick=quick)
    yield from _lidar_time()
    yield from _similarities(quick=quick)


@dataclass
class _Tally:
    """Outcomes of one method on one group of pairs under one condition."""

    strict: list[bool] = field(default_factory=list)
    wrong: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def _success(*, quick: bool) -> Iterator[Metric]:
    """Success within 1 degree and 10 cm (5 mm for the bunny), and accepted wrong poses.

    A pose is wrong beyond 5 degrees or five times the translation limit; a pose that is not
    accepted counts as no success for ours, while rivals are credited with any pose they return.
    """
    tallies: dict[tuple[str, str, str], _Tally] = {}
    for pair in real_pairs(refined=True):
        for condition in (*CONDITIONS, DISJOINT):
            methods = {_OURS: _ours} | rivals()
            for name, method in methods.items():
                starts = _starts(name, quick=quick)
                key = (pair.name.split()[0], condition, name)
                tally = tallies.setdefault(key, _Tally())
                for seed in range(starts):
                    _try(method, pair, condition, seed, tally, is_ours=name == _OURS)
                _logger.info("%s, %s, %s: %s", pair.name, condition, name, tally.strict[-starts:])
    yield from _success_rows(tallies)


def _starts(name: str, *, quick: bool) -> int:
    if name == _OURS:
        return QUICK_STARTS if quick else STARTS
    return QUICK_RIVAL_STARTS if quick else RIVAL_STARTS


def _ours(source: np.ndarray, target: np.ndarray, voxel: float) -> Claim:
    found = register(source, target)
    return Claim(found.T_target_source, found.converged)


def _try(method, pair: Pair, condition: str, seed: int, tally: _Tally, *, is_ours: bool) -> None:
    moved, motion = harder(pair, condition, seed)
    units = (measure(moved.source), measure(moved.target))
    voxel = float(np.sqrt(units[0].voxel() * units[1].voxel()))
    start = time.perf_counter()
    try:
        claim = method(moved.source, moved.target, voxel)
    except (RuntimeError, ValueError, IndexError) as error:
        _logger.warning("%s failed: %s", method.__name__, error)
        claim = Claim(np.eye(4), False)
    tally.seconds.append(time.perf_counter() - start)
    error = pose_error(claim.pose, moved, motion)
    far = error.degrees > _WRONG_DEG or error.length > _WRONG_LIMITS * pair.limit
    tally.strict.append(error.strict(pair) and (claim.accepted or not is_ours))
    tally.wrong.append(claim.accepted and (far or condition == DISJOINT))


def _success_rows(tallies: dict[tuple[str, str, str], _Tally]) -> Iterator[Metric]:
    """One success row per group, condition and method; false accepts per method."""
    for (group, condition, name), tally in tallies.items():
        if condition == DISJOINT:
            continue
        best = max(
            (
                np.mean(other.strict)
                for (g, c, n), other in tallies.items()
                if (g, c) == (group, condition) and n != _OURS
            ),
            default=0.0,
        )
        ours = name == _OURS
        yield Metric(
            f"strict success, {group}, {condition}, {name}, {len(tally.strict)} starts",
            100 * float(np.mean(tally.strict)),
            "%",
            "higher" if ours else None,
            0.02,
            100 * float(best) if ours else None,
        )
    for name in dict.fromkeys(name for _, _, name in tallies):
        wrong = [w for (_, _, n), tally in tallies.items() if n == name for w in tally.wrong]
        seconds = [s for (_, _, n), tally in tallies.items() if n == name for s in tally.seconds]
        ours = name == _OURS
        rate = 100 * float(np.mean(wrong))
        label = f"wrong poses called aligned, all conditions and disjoint halves, {name}"
        yield Metric(label, rate, "%", "lower" if ours else None, 0, 0.0 if ours else None)
        yield Metric(f"median time of a pair, {name}", statistics.median(seconds), "s")


def _lidar_time() -> Iterator[Metric]:
    """End to end on the LiDAR pair, and its refinement alone."""
    pair = next(iter(real_pairs()), None)
    if pair is None:
        return
    moved, _ = harder(pair, "full", 0)
    taken = []
    for _ in range(8):
        start = time.perf_counter()
        register(moved.source, moved.target)
        taken.append(time.perf_counter() - start)
    size = f"{len(pair.source):,} + {len(pair.target):,} points"
    median = statistics.median(taken[1:])
    yield Metric(f"LiDAR pair end to end, {size}", median, "s", "lower", 0.3, 0.5)
    units = (measure(pair.source), measure(pair.target))
    voxel = float(np.sqrt(units[0].voxel() * units[1].voxel())) / 2
    source, target = (prepare(u, voxel, radius=NORMAL_RADIUS) for u in units)
    start_pose = pair.T_target_source.copy()
    shift = start_pose[:3, :3] @ units[0].origin - units[1].origin
    start_pose[:3, 3] += shift + voxel
    refine(source, target, pose_of(start_pose))
    taken = []
    for _ in range(8):
        start = time.perf_counter()
        refine(source, target, pose_of(start_pose))
        taken.append(time.perf_counter() - start)
    label = f"refinement alone, {len(source.points):,} voxels, on prepared clouds"
    yield Metric(label, 1e3 * statistics.median(taken), "ms", "lower", 0.3, 40.0)


def _similarities(*, quick: bool) -> Iterator[Metric]:
    """Random similarities, scale 0.1 to 10, between disjoint halves and levels of detail."""
    for name, first, second in _splat_pairs():
        angles, scales, seconds, aligned = [], [], [], []
        for seed in range(3 if quick else 20):
            rng = np.random.default_rng(seed)
            similarity = _random_similarity(rng, second)
            moved = first.transformed(similarity)
            start = time.perf_counter()
            found = register(moved, second, with_scale=True)
            seconds.append(time.perf_counter() - start)
            angle, scale = _similarity_error(found, similarity.inverse())
            angles.append(angle)
            scales.append(scale)
            aligned.append(found.converged)
        label = f"Sim(3), {name}, {len(aligned)} starts"
        yield Metric(f"{label}: aligned", 100 * float(np.mean(aligned)), "%", "higher", 0, 100.0)
        yield Metric(f"{label}: largest rotation error", max(angles), "deg", "lower", 0.5, 0.5)
        yield Metric(f"{label}: largest scale error", max(scales), "%", "lower", 0.5, 0.5)
        yield Metric(f"{label}: median time", statistics.median(seconds), "s", "lower", 0.3, 5.0)


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
    folder = real_data("splats/playbot_sog_lod")
    if folder is not None:
        fine, coarse, coarser = (load(folder / f"{level}_0") for level in (2, 3, 4))
        yield "playbot, levels of 31,000 and 125,000", coarse, fine
        yield "playbot, levels of 8,406 and 31,000", coarser, coarse


def _ply_in(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("*.ply"))))


def _random_similarity(rng: np.random.Generator, scene: Gaussians) -> Similarity:
    reach = float(np.ptp(scene.means.numpy(), axis=0).max()) / 2
    motion = torch.from_numpy(random_pose(rng, reach))
    scale = float(10 ** rng.uniform(-1, 1))
    return Similarity(scale, motion[:3, :3], scale * motion[:3, 3])


def _similarity_error(found: Registration, truth: Similarity) -> tuple[float, float]:
    """(degrees, percent of the scale)."""
    gap = float((found.similarity.rotation - truth.rotation).norm())
    degrees = float(np.degrees(2 * np.arcsin(min(1.0, gap / np.sqrt(8)))))
    return degrees, 100 * abs(found.scale / truth.scale - 1)
