"""Viewing graphs: hidden wrong edges, false removals, cameras, and photos of a castle."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from captures.from_images import FromImagesOptions, from_images, read_intrinsics
from registration.viewing_graph import (
    ViewingGraph,
    clean,
    projective_cameras,
    quadruple_compatibility,
    read_graph,
)
from registration.viewing_graph.synthetic import (
    exact_graph,
    hidden_change,
    noisy_graph,
    random_cameras,
)

from .command import real_data
from .metric import Metric


def run(*, quick: bool) -> Iterator[Metric]:
    """Planted edges in synthetic and real graphs, found by triples alone and with quadruples."""
    yield from _hidden(range(3 if quick else 20))
    yield from _cameras(range(2 if quick else 10))
    castle = real_data("photos_no_poses/sceaux_castle")
    if castle is not None:
        yield from _castle(castle, seeds=range(3 if quick else 20), size=800 if quick else 1600)


def _hidden(seeds: range) -> Iterator[Metric]:
    """Band graphs of 14 views, one edge changed so that every triple still closes."""
    found = {False: 0, True: 0}
    false = scores = 0.0
    for seed in seeds:
        P = random_cameras(14, seed=seed)
        exact = exact_graph(P, band=3)
        noisy = noisy_graph(P, num_points=200, noise=5e-4, seed=seed, band=3)
        start = 1 + seed % 9
        edge = int(exact.edge_index()[start, start + 3])
        F = noisy.F.copy()
        F[edge] = hidden_change(exact, edge, (start + 1, start + 2), 3.0)
        planted = ViewingGraph(14, noisy.edges, F, noisy.deviations)
        for quadruples in found:
            removed = ~clean(planted, use_quadruples=quadruples).keep
            found[quadruples] += bool(removed[edge])
            if quadruples:
                false += removed.sum() - removed[edge]
        scores += np.nanmean(quadruple_compatibility(noisy).scores ** 2)
    name = "wrong edges that keep triples closed, 14 views, 0.25 px noise of 1000"
    count = len(seeds)
    yield Metric(f"{name}: found by triples", found[False] / count, "of all")
    yield Metric(f"{name}: found with quadruples", found[True] / count, "of all", "higher", 0, 1.0)
    yield Metric(f"{name}: good edges removed", false / count, "per graph", "lower", 0.1, 0.05)
    yield Metric(f"{name}: mean squared quadruple score", float(scores) / count, "(1 expected)")


def _cameras(seeds: range) -> Iterator[Metric]:
    exact = [projective_cameras(exact_graph(random_cameras(8, seed=s))).residuals for s in seeds]
    name = "projective cameras of 8 views"
    yield Metric(f"{name}, exact: largest residual", float(np.max(exact)), "", "lower", 9.0, 1e-9)
    ratios = []
    for seed in seeds[: 5 if len(seeds) > 5 else 1]:
        graph = noisy_graph(random_cameras(8, seed=seed), num_points=150, noise=1e-3, seed=seed)
        rough, fine = (projective_cameras(graph, refine=r).residuals for r in (False, True))
        ratios.append(float(np.sqrt((fine**2).mean() / (rough**2).mean())))
    yield Metric(f"{name}, noisy: residual after over before refinement", float(np.mean(ratios)),
                 "x", "lower", 0.1, 1.0)  # fmt: skip


def _castle(folder: Path, *, seeds: range, size: int) -> Iterator[Metric]:
    options = FromImagesOptions(
        max_image_size=size, intrinsics=read_intrinsics(folder / "K_half.txt")
    )
    graphs: list[ViewingGraph] = []
    with tempfile.TemporaryDirectory() as temporary:
        from_images(
            folder,
            Path(temporary) / "castle",
            options,
            check_matches=lambda database: graphs.append(read_graph(database).graph),
        )
    graph = graphs[0]
    start = time.perf_counter()
    cleaned = clean(graph)
    seconds = time.perf_counter() - start
    name = f"Sceaux castle, {len(graph.edges)} pairs of {graph.num_views} photos"
    yield Metric(f"{name}: kept", float(cleaned.keep.mean()), "of all", "higher", 0.02, 0.95)
    yield Metric(f"{name}: time of the check", seconds, "s", "lower", 0.5)
    for share in (0.05, 0.1, 0.2):
        shares = np.array([_planted(graph, share, seed) for seed in seeds])
        found, false = shares.mean(axis=0)
        planted = f"{name}, {share:.0%} with the geometry of another pair"
        yield Metric(f"{planted}: found", found, "of planted", "higher", 0.1)
        yield Metric(f"{planted}: good ones removed", false, "of good", "lower", 0.5, 0.05)


def _planted(graph: ViewingGraph, share: float, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    count = len(graph.edges)
    bad = rng.choice(count, max(round(share * count), 1), replace=False)
    donors = np.array([rng.choice(np.delete(np.arange(count), edge)) for edge in bad])
    assert graph.deviations is not None
    F, deviations = graph.F.copy(), graph.deviations.copy()
    F[bad], deviations[bad] = graph.F[donors], graph.deviations[donors]
    removed = ~clean(
        ViewingGraph(graph.num_views, graph.edges, F, deviations, graph.num_matches)
    ).keep
    return float(removed[bad].mean()), float(np.delete(removed, bad).mean())
