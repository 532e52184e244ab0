"""Graphs of noisy relative rotations and motions with known answers, for tests and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from . import so3
from .graph import RotationGraph


@dataclass(frozen=True)
class SyntheticGraph:
    """Measurements and the truth behind them."""

    graph: RotationGraph
    """What is measured."""
    truth: Float[np.ndarray, "N 3 3"]
    """R_world_i."""
    outliers: np.ndarray
    """True for edges that were replaced by random rotations."""


def random_graph(
    num_nodes: int,
    *,
    degree: float,
    noise_deg: float,
    outlier_rate: float,
    seed: int,
) -> SyntheticGraph:
    """A ring, so that it is connected, and random chords; noise on all edges, outliers on some.

    Args:
        num_nodes: Number of rotations, at least 3.
        degree: Mean number of edges at a node.
        noise_deg: Standard deviation per axis of good edges in degrees.
        outlier_rate: Share of edges that are uniformly random rotations. Every node keeps three
            good edges, or what it had if that is less: with fewer its rotation cannot be known.
        seed: Seed of everything.
    """
    rng = np.random.default_rng(seed)
    ring = np.stack([np.arange(num_nodes), np.roll(np.arange(num_nodes), -1)], axis=1)
    ring = np.sort(ring, axis=1)
    i, j = np.triu_indices(num_nodes, 2)
    others = ~((i == 0) & (j == num_nodes - 1))
    i, j = i[others], j[others]
    extra = min(max(round(degree * num_nodes / 2) - num_nodes, 0), len(i))
    chosen = rng.choice(len(i), size=extra, replace=False)
    edges = np.concatenate([ring, np.stack([i[chosen], j[chosen]], axis=1)])
    truth = so3.random(num_nodes, rng)
    relative = truth[edges[:, 0]].transpose(0, 2, 1) @ truth[edges[:, 1]]
    relative = so3.exp(np.radians(noise_deg) * rng.normal(size=(len(edges), 3))) @ relative
    none = np.zeros(len(edges), bool)
    outliers = choose_outliers(num_nodes, edges, none, outlier_rate, rng)
    relative[outliers] = so3.random(int(outliers.sum()), rng)
    flip = rng.random(len(edges)) < 0.5
    edges[flip] = edges[flip][:, ::-1]
    relative[flip] = relative[flip].transpose(0, 2, 1)
    return SyntheticGraph(RotationGraph(num_nodes, edges, relative), truth, outliers)


def choose_outliers(
    num_nodes: int, edges: np.ndarray, wrong: np.ndarray, rate: float, rng: np.random.Generator
) -> np.ndarray:
    """`wrong` edges and random others until a share `rate` is bad.

    Every node keeps three good edges, or what it had if that is less.
    """
    outliers = wrong.copy()
    good = np.bincount(edges[~wrong].ravel(), minlength=num_nodes)
    for e in rng.permutation(np.flatnonzero(~wrong)):
        if outliers.sum() >= round(rate * len(edges)):
            break
        if (good[edges[e]] > 3).all():
            outliers[e] = True
            good[edges[e]] -= 1
    return outliers
