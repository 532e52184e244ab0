"""Symmetry, solids under rotation, outliers, and learned beside untrained colors for matching."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from captures.rotations import quats_to_rotmats
from registration.averaging import so3
from registration.learning import (
    ColorsConfig,
    ColorsMethod,
    train_classifier,
    train_outlier_detector,
)
from registration.learning.matching_score import Colors, matching_score
from registration.learning.outliers import distance_scores, ranking_accuracy, with_outliers
from registration.networks import BACKBONES, BackboneName
from registration.ume import ColorFunction

from .command import real_data
from .metric import Metric
from .moment_matching import moment_rows

_TRAINING = ("cow", "homer", "beast", "cheburashka", "alligator", "rocker-arm", "ogre", "teapot")
_HELD_OUT = ("spot", "stanford-bunny", "fandisk", "suzanne", "woody")
_HELD_OUT_SOLIDS = _HELD_OUT[:-1]  # woody is a flat drawing, which fixes no pose
_RADIUS = 0.3  # of neighborhoods, in extents of the shape


def run(*, quick: bool) -> Iterator[Metric]:
    """All four backbones; trainings are short enough for two cores."""
    yield from _symmetry()
    yield from _classification(10 if quick else 60)
    yield from _outliers(20 if quick else 100)
    yield from _colors(10 if quick else 200)


def _symmetry() -> Iterator[Metric]:
    torch.manual_seed(0)
    for name, backbone in BACKBONES.items():
        net, worst = backbone(16), 0.0
        cloud = torch.randn(100, 3)
        with torch.no_grad():
            plain = net(cloud)
            for _ in range(5):
                rotation = quats_to_rotmats(torch.randn(4, dtype=torch.float64)).float()
                moved = net(cloud @ rotation.T + torch.randn(3))
                worst = max(worst, float((moved - plain).abs().max() / plain.abs().max()))
        yield Metric(f"{name}: change of features under motions, float32", worst, "relative",
                     "lower", 9.0, 1e-5)  # fmt: skip


def _classification(steps: int) -> Iterator[Metric]:
    for name in (None, *BACKBONES):
        start = time.perf_counter()
        scores = train_classifier(name, steps=steps)[1]  # pyright: ignore[reportArgumentType]
        title = f"8 solids, 96 points, {steps} steps: {name or 'coordinates'}"
        yield Metric(f"{title}, as trained", scores.canonical, "of all", "higher", 0.1)
        yield Metric(f"{title}, turned", scores.turned, "of all", "higher", 0.1)
        yield Metric(f"{title}, training", time.perf_counter() - start, "s", "lower", 0.5)


def _outliers(steps: int) -> Iterator[Metric]:
    detector = train_outlier_detector(steps=steps)
    generator = torch.Generator().manual_seed(5)
    found = []
    for cloud in _surfaces(_HELD_OUT, 2000):
        for share in (0.1, 0.3):
            points, wild = with_outliers(torch.from_numpy(cloud).float()[None], generator,
                                         share=share)  # fmt: skip
            with torch.no_grad():
                scores = detector(points)[0]
            usual = distance_scores(points)[0]
            found.append([ranking_accuracy(s, wild[0]) for s in (scores, usual)])
    if found:
        ours, usual = np.mean(found, axis=0)
        name = "outliers on held-out meshes, area under ROC"
        yield Metric(f"{name}: Deep Sets", float(ours), "", "higher", 0.02, float(usual))
        yield Metric(f"{name}: mean neighbor distance", float(usual), "", "higher")


def _colors(steps: int) -> Iterator[Metric]:
    training = list(_surfaces(_TRAINING, 20_000))
    if not training:
        return
    pairs = list(_held_out_pairs())
    title = "held-out pairs: moment spans that find their place"
    base = 0.0
    learned: dict[str, ColorFunction | None] = {"untrained colors": None}
    backbones: tuple[BackboneName, ...] = ("shape", "deep-sets")
    for backbone in backbones:
        method = ColorsMethod(ColorsConfig(backbone=backbone), training, seed=0)
        start = _mean_score(_as_colors(method), pairs)
        yield Metric(f"{title}, {backbone} untrained", start, "of all")
        for step in range(steps):
            method.step(step, step / steps)
        score = _mean_score(_as_colors(method), pairs)
        base = max(base, start)
        name = f"{title}, {backbone} after {steps} steps"
        yield Metric(name, score, "of all", "higher", 0.1, base)
        learned[f"{backbone} colors after {steps} steps"] = method.coloring.of_cloud
    yield from moment_rows(list(_surfaces(_HELD_OUT_SOLIDS, 30_000)), learned)


def _as_colors(method: ColorsMethod) -> Colors:
    return lambda cloud: method.coloring.colors(torch.from_numpy(cloud).float()).double().numpy()


def _mean_score(colors: Colors, pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    return float(np.mean([matching_score(colors, *pair, radius=_RADIUS) for pair in pairs]))


def _surfaces(names: tuple[str, ...], count: int) -> Iterator[np.ndarray]:
    import trimesh

    folder = real_data("meshes/common")
    for name in names if folder is not None else ():
        assert folder is not None
        mesh = trimesh.load(str(Path(folder) / f"{name}.obj"), force="mesh")
        points = np.asarray(trimesh.sample.sample_surface(mesh, count, seed=0)[0])
        yield (points - points.mean(axis=0)) / np.ptp(points, axis=0).max()


def _held_out_pairs() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Two samplings, one turned, sparser and cropped, with noise of half a percent."""
    rng = np.random.default_rng(3)
    for cloud in _surfaces(_HELD_OUT, 9000):
        source = cloud[:2500] + 0.005 * rng.normal(size=(2500, 3))
        target = cloud[2500:6000] + 0.005 * rng.normal(size=(3500, 3))
        target = target[np.argsort(target @ rng.normal(size=3))[: int(0.7 * len(target))]]
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = so3.random(1, rng)[0], rng.normal(size=3)
        yield source, target @ pose[:3, :3].T + pose[:3, 3], pose
