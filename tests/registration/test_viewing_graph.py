"""Viewing graphs: exact conditions, what triples miss, calibrated scores, cleaning, cameras."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from registration.viewing_graph import (
    ViewingGraph,
    clean,
    clean_database,
    epipoles,
    estimate_fundamental,
    projective_cameras,
    quadruple_compatibility,
    read_graph,
    triple_compatibility,
)
from registration.viewing_graph.compatibility import block_matrix_spectrum
from registration.viewing_graph.fundamental import fundamental_of_cameras
from registration.viewing_graph.synthetic import (
    exact_graph,
    hidden_change,
    noisy_graph,
    random_cameras,
)


def with_edge(graph: ViewingGraph, edge: int, F: np.ndarray) -> ViewingGraph:
    changed = graph.F.copy()
    changed[edge] = F
    return ViewingGraph(graph.num_views, graph.edges, changed, graph.deviations)


def test_matrices_of_cameras_meet_all_conditions_at_any_scale() -> None:
    graph = exact_graph(random_cameras(6, seed=0))
    scales = np.random.default_rng(0).normal(size=(15, 1, 1))
    scaled = ViewingGraph(6, graph.edges, scales * graph.F)
    triples, quadruples = triple_compatibility(scaled), quadruple_compatibility(scaled)
    assert len(triples.views) == 20 and len(quadruples.views) == 15
    assert triples.residuals.max() < 1e-12
    assert quadruples.residuals.max() < 1e-10
    assert clean(scaled).keep.all()


def test_n_view_matrix_of_cameras_has_rank_six() -> None:
    P = random_cameras(5, seed=1)
    # With P_i = [A_i | a_i] the scaled block is A_i^-T ([c_i]x - [c_j]x) A_j^-1.
    graph = exact_graph(P)
    scales = []
    for e, (i, j) in enumerate(graph.edges.tolist()):
        c = [-np.linalg.solve(P[v][:, :3], P[v][:, 3]) for v in (i, j)]
        d = c[0] - c[1]
        cross = np.array([[0, -d[2], d[1]], [d[2], 0, -d[0]], [-d[1], d[0], 0]])
        block = np.linalg.inv(P[i][:, :3]).T @ cross @ np.linalg.inv(P[j][:, :3])
        scales.append((block * graph.F[e]).sum())
    values = block_matrix_spectrum(graph, np.array(scales))
    assert (values[:3] < -1e-3).all() and (values[-3:] > 1e-3).all()
    assert np.abs(values[3:-3]).max() < 1e-12


def test_quadruples_find_what_triples_cannot() -> None:
    """The planted edge keeps every triangle closed to rounding; the equation gives its factor."""
    graph = exact_graph(random_cameras(4, seed=1))
    for edge, (i, j) in enumerate(graph.edges.tolist()):
        first, second = (v for v in range(4) if v not in (i, j))
        others = (first, second)
        planted = with_edge(graph, edge, hidden_change(graph, edge, others, 1.3))
        assert triple_compatibility(planted).residuals.max() < 1e-12
        assert quadruple_compatibility(planted).residuals[0] == pytest.approx(np.log(1.3))
        assert projective_cameras(planted, refine=False).residuals.max() > 0.01
        negative = with_edge(graph, edge, hidden_change(graph, edge, others, 4.0) * -1)
        assert quadruple_compatibility(negative).residuals[0] == pytest.approx(np.log(4.0))


@pytest.mark.parametrize("seed", range(3))
def test_planted_edges_of_a_band_are_named_by_quadruples_only(seed: int) -> None:
    P = random_cameras(14, seed=seed)
    exact, noisy = exact_graph(P, band=3), noisy_graph(
        P, num_points=200, noise=5e-4, seed=seed, band=3
    )  # fmt: skip
    edge = int(exact.edge_index()[5, 8])
    planted = with_edge(noisy, edge, hidden_change(exact, edge, (6, 7), 3.0))
    assert clean(planted, use_quadruples=False).keep.all()
    assert np.flatnonzero(~clean(planted).keep).tolist() == [edge]


@pytest.mark.parametrize("noise", [5e-4, 2e-3])
def test_scores_are_standard_deviations(noise: float) -> None:
    scores = []
    for seed in range(4):
        graph = noisy_graph(random_cameras(7, seed=seed), num_points=120, noise=noise, seed=seed)
        quadruples = quadruple_compatibility(graph).scores
        scores.append(quadruples[np.isfinite(quadruples)])
        assert clean(graph).keep.all()
    squares = np.concatenate(scores) ** 2
    assert 0.6 < squares.mean() < 1.8


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_random_wrong_edges_are_removed_and_no_others(share: float) -> None:
    rng = np.random.default_rng(7)
    graph = noisy_graph(random_cameras(9, seed=7), num_points=150, noise=1e-3, seed=7)
    bad = rng.choice(len(graph.edges), round(share * len(graph.edges)), replace=False)
    F = graph.F.copy()
    for edge in bad:
        F[edge] = fundamental_of_cameras(*random_cameras(2, seed=100 + int(edge)))
    found = clean(ViewingGraph(9, graph.edges, F, graph.deviations))
    assert sorted(np.flatnonzero(~found.keep)) == sorted(bad)


def test_cameras_of_compatible_matrices_reproduce_them() -> None:
    P = random_cameras(7, seed=2)
    for graph in (exact_graph(P), exact_graph(P, band=2)):
        found = projective_cameras(graph)
        assert found.residuals.max() < 1e-10


def test_cameras_differ_from_the_true_ones_by_one_projective_map() -> None:
    P = random_cameras(6, seed=3)
    found = projective_cameras(exact_graph(P)).P
    # found_i H ~ P_i for one H: all cross products vanish on one null vector.
    rows = []
    for own, true in zip(found, P, strict=True):
        stacked = np.kron(own, np.eye(4))  # vec(own @ H), row major
        direction = true.ravel() / np.linalg.norm(true)
        rows.append(stacked - np.outer(direction, direction @ stacked))
    singular = np.linalg.svd(np.concatenate(rows), compute_uv=False)
    assert singular[-1] < 1e-9 < 1e-4 < singular[-2]


def test_refinement_spreads_noise() -> None:
    graph = noisy_graph(random_cameras(6, seed=4), num_points=80, noise=2e-3, seed=4)
    rough, fine = projective_cameras(graph, refine=False), projective_cameras(graph)
    assert (fine.residuals**2).sum() < (rough.residuals**2).sum()


def test_views_on_one_edge_have_no_camera() -> None:
    graph = exact_graph(random_cameras(4, seed=0))
    kept = (graph.edges != 3).all(axis=1) | (graph.edges == [2, 3]).all(axis=1)
    found = projective_cameras(ViewingGraph(4, graph.edges[kept], graph.F[kept]))
    assert np.isnan(found.P[3]).all() and np.isfinite(found.P[:3]).all()


def test_estimate_is_exact_without_noise_and_its_deviations_are_true() -> None:
    P = random_cameras(2, seed=5)
    truth = fundamental_of_cameras(*P)
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-1, 1, (100, 3)), np.ones((100, 1))], axis=1)
    a, b = ((points @ camera.T)[:, :2] / (points @ camera.T)[:, 2:] for camera in P)
    exact = estimate_fundamental(a, b, unit=1e-9).F
    assert min(np.linalg.norm(exact - truth), np.linalg.norm(exact + truth)) < 1e-9
    epipole = epipoles(truth)[0]
    errors, spread = [], []
    for _ in range(40):
        noisy = [x + 1e-3 * rng.normal(size=x.shape) for x in (a, b)]
        found = estimate_fundamental(*noisy, unit=1e-4)
        F = found.F if (found.F * truth).sum() > 0 else -found.F
        errors.append((F - truth).ravel())
        spread.append((found.deviations.reshape(7, 9) ** 2).sum(axis=0))
    ratio = np.square(errors).sum() / np.sum(spread)
    assert 0.6 < ratio < 1.6
    assert abs(epipole @ truth).max() < 1e-12


@pytest.mark.parametrize(
    ("edges", "F", "message"),
    [
        ([[0, 0]], np.ones((1, 3, 3)), "joins 0 to itself"),
        ([[1, 0]], np.ones((1, 3, 3)), "i < j"),
        ([[0, 1], [0, 1]], np.ones((2, 3, 3)), "name each pair once"),
        ([[0, 1]], np.full((1, 3, 3), np.nan), "finite"),
        ([[0, 1]], np.eye(3)[None], "rank 2"),
        ([[0, 9]], np.ones((1, 3, 3)), "name nodes 0 to 3"),
    ],
)
def test_bad_graphs_are_refused(edges, F, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViewingGraph(4, np.array(edges), F)


def test_empty_and_disconnected_graphs_have_an_answer() -> None:
    empty = ViewingGraph(3, np.zeros((0, 2), int), np.zeros((0, 3, 3)))
    found = clean(empty)
    assert found.keep.shape == (0,) and found.components.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="at least one edge"):
        projective_cameras(empty)
    P = random_cameras(6, seed=0)
    full = exact_graph(P)
    halves = (full.edges < 3).all(axis=1) | (full.edges >= 3).all(axis=1)
    parts = ViewingGraph(6, full.edges[halves], full.F[halves])
    assert clean(parts).keep.all() and clean(parts).components.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(quadruple_compatibility(parts).scores) == 0


def test_too_few_matches_are_refused() -> None:
    with pytest.raises(ValueError, match="8 matches or more"):
        estimate_fundamental(np.zeros((5, 2)), np.zeros((5, 2)))


def test_database_loses_a_planted_pair_and_keeps_the_others(tmp_path: Path) -> None:
    """A look-alike pair: geometry of other places with plenty of consistent matches."""
    pycolmap = pytest.importorskip("pycolmap")
    rng = np.random.default_rng(0)
    P = random_cameras(6, seed=0)
    points = np.concatenate([rng.uniform(-1, 1, (300, 3)), np.ones((300, 1))], axis=1)
    images = np.einsum("nab,pb->npa", P, points)
    size, half = 1000, 500.0
    pixels = images[..., :2] / images[..., 2:] * half / 2 + half
    pixels += 0.4 * rng.normal(size=pixels.shape)
    # Views 0 and 5 also match on points that see a relative pose of two other cameras.
    other = np.einsum("nab,pb->npa", random_cameras(2, seed=9), points)
    other = other[..., :2] / other[..., 2:] * half / 2 + half
    path = tmp_path / "database.db"
    with pycolmap.Database.open(str(path)) as database:
        camera = pycolmap.Camera.create(0, pycolmap.CameraModelId.SIMPLE_PINHOLE, half, size, size)
        camera.camera_id = database.write_camera(camera)
        ids = []
        for n in range(6):
            image = pycolmap.Image(name=f"{n}.png", camera_id=camera.camera_id)
            ids.append(database.write_image(image))
            both = pixels[n] if n not in (0, 5) else np.concatenate([pixels[n], other[n // 5]])
            database.write_keypoints(ids[-1], both.astype(np.float32))
        for a, b in combinations(range(6), 2):
            same = np.arange(300, dtype=np.uint32) + (300 if (a, b) == (0, 5) else 0)
            matches = np.stack([same, same], axis=1)
            geometry = pycolmap.TwoViewGeometry(
                config=pycolmap.TwoViewGeometryConfiguration.UNCALIBRATED, inlier_matches=matches
            )
            database.write_matches(ids[a], ids[b], matches)
            database.write_two_view_geometry(ids[a], ids[b], geometry)
    assert len(read_graph(path).graph.edges) == 15
    report = clean_database(path)
    assert report.removed == (("0.png", "5.png"),)
    assert report.num_components == 1 and "0.png - 5.png" in report.verdict
    assert len(read_graph(path).graph.edges) == 14
    assert clean_database(path).removed == ()
    with pytest.raises(FileNotFoundError, match="expected a COLMAP database"):
        read_graph(tmp_path / "none.db")
