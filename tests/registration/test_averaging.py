"""Global rotations and poses from relative ones: exactness, robustness, certainty, bad input."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from registration.averaging import (
    PoseGraph,
    RotationGraph,
    RotationMethod,
    average_rotations,
    average_translations,
    bridges,
    optimize_poses,
    so3,
    triangles,
)
from registration.averaging.flag_synchronization import flag_descent, flag_distances
from registration.averaging.pose_refinement import Poses, _jacobians, _moved, _residuals
from registration.averaging.synthetic import SyntheticGraph, random_graph

METHODS = get_args(RotationMethod)


def errors_deg(rotations: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.degrees(so3.angles(so3.align(rotations, truth), truth))


def motion_graph(
    rate: float, *, scale: bool, noise: float = 1.0, seed: int = 0
) -> tuple[PoseGraph, np.ndarray, np.ndarray]:
    """Pose graph, true poses and which edges are wild."""
    made = random_graph(30, degree=10.0, noise_deg=noise, outlier_rate=rate, seed=seed)
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (30, 1, 1))
    scales = np.exp(0.5 * rng.normal(size=30) * scale)
    poses[:, :3, :3] = scales[:, None, None] * made.truth
    poses[:, :3, 3] = 5 * rng.normal(size=(30, 3))
    i, j = made.graph.edges.T
    relative = np.linalg.inv(poses[i]) @ poses[j]
    ratio = scales[j] / scales[i]
    if noise > 0:
        ratio = ratio * np.exp(0.01 * scale * rng.normal(size=len(i)))
        relative[:, :3, 3] += 0.02 * rng.normal(size=(len(i), 3))
    relative[:, :3, :3] = ratio[:, None, None] * made.graph.rotations
    wild = made.outliers
    relative[wild, :3, 3] = 5 * rng.normal(size=(int(wild.sum()), 3))
    return PoseGraph(30, made.graph.edges, relative), poses, wild


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("num_nodes", [3, 20, 450])  # 450 takes the sparse eigenvectors
def test_exact_graphs_are_solved_exactly(method: RotationMethod, num_nodes: int) -> None:
    made = random_graph(num_nodes, degree=6.0, noise_deg=0.0, outlier_rate=0.0, seed=0)
    found = average_rotations(made.graph, method=method)
    assert errors_deg(found.rotations, made.truth).max() < 1e-5
    assert np.allclose(found.rotations[0], np.eye(3))


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("noise", [3.0])
def test_flag_median_is_no_worse_than_its_rivals(rate: float, noise: float) -> None:
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    for seed in range(2):
        made = random_graph(40, degree=10.0, noise_deg=noise, outlier_rate=rate, seed=seed)
        for method in METHODS:
            rotations = average_rotations(made.graph, method=method).rotations
            found[method].append(float(errors_deg(rotations, made.truth).mean()))
    mean = {method: np.mean(values) for method, values in found.items()}
    assert mean["flag-median"] <= 1.01 * min(mean["l1-irls"], mean["chordal"])
    assert mean["flag-median"] < noise  # averaging beats a single measurement


def test_outliers_are_named() -> None:
    made = random_graph(50, degree=12.0, noise_deg=2.0, outlier_rate=0.3, seed=3)
    found = average_rotations(made.graph)
    assert ((found.confidence < 0.5) == made.outliers).mean() > 0.99
    assert found.noise == pytest.approx(np.radians(2), rel=0.15)


def test_answer_turns_with_the_world_and_not_with_names() -> None:
    made = random_graph(30, degree=8.0, noise_deg=3.0, outlier_rate=0.2, seed=5)
    plain = average_rotations(made.graph).rotations
    order = np.random.default_rng(0).permutation(30)
    place = np.argsort(order)
    renamed = RotationGraph(30, place[made.graph.edges], made.graph.rotations)
    found = average_rotations(renamed).rotations
    assert errors_deg(found, plain[order]).max() < 0.02  # 0.007 seen
    flipped = RotationGraph(
        30, made.graph.edges[:, ::-1].copy(), made.graph.rotations.transpose(0, 2, 1).copy()
    )
    assert errors_deg(average_rotations(flipped).rotations, plain).max() < 0.02


def test_a_doubled_edge_is_an_edge_of_twice_the_weight() -> None:
    made = random_graph(12, degree=5.0, noise_deg=4.0, outlier_rate=0.0, seed=1)
    graph = made.graph
    doubled = RotationGraph(
        12,
        np.concatenate([graph.edges, graph.edges[:1]]),
        np.concatenate([graph.rotations, graph.rotations[:1]]),
    )
    weights = np.ones(len(graph.edges))
    weights[0] = 2
    weighted = RotationGraph(12, graph.edges, graph.rotations, weights)
    a, b = (average_rotations(g, method="flag-mean").rotations for g in (doubled, weighted))
    assert errors_deg(a, b).max() < 1e-6


def test_descent_is_the_gradient_of_the_flag_cost() -> None:
    made = random_graph(8, degree=4.0, noise_deg=20.0, outlier_rate=0.2, seed=2)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(made.graph.edges))

    def cost(rotations: np.ndarray) -> float:
        return float(weights @ flag_distances(made.graph, rotations) ** 2)

    rotations = so3.exp(0.1 * np.random.default_rng(1).normal(size=(8, 3))) @ made.truth
    for _ in range(100):
        before = cost(rotations)
        rotations, step = flag_descent(made.graph, rotations, weights, np.array([0]))
        assert cost(rotations) <= before + 1e-12
        if step < 1e-10:
            break
    for axis in range(3):  # stationary in every direction of every free node
        for node in range(1, 8):
            for sign in (-1, 1):
                turn = np.zeros((8, 3))
                turn[node, axis] = sign * 1e-4
                assert cost(so3.exp(turn) @ rotations) >= cost(rotations) - 1e-9


def test_parts_are_averaged_apart() -> None:
    one = random_graph(10, degree=4.0, noise_deg=0.0, outlier_rate=0.0, seed=0)
    two = random_graph(6, degree=3.0, noise_deg=0.0, outlier_rate=0.0, seed=1)
    graph = RotationGraph(
        17,
        np.concatenate([two.graph.edges, one.graph.edges + 6]),
        np.concatenate([two.graph.rotations, one.graph.rotations]),
    )
    for method in METHODS:
        found = average_rotations(graph, method=method)
        assert found.components.tolist() == [1] * 6 + [0] * 10 + [2]
        assert errors_deg(found.rotations[:6], two.truth).max() < 1e-5
        assert errors_deg(found.rotations[6:16], one.truth).max() < 1e-5


def test_no_edges_is_no_error() -> None:
    found = average_rotations(RotationGraph(3, np.zeros((0, 2), int), np.zeros((0, 3, 3))))
    assert np.array_equal(found.rotations, np.tile(np.eye(3), (3, 1, 1)))
    assert found.components.tolist() == [0, 1, 2]
    poses = optimize_poses(PoseGraph(2, np.zeros((0, 2), int), np.zeros((0, 4, 4))))
    assert np.array_equal(poses.T_world_node, np.tile(np.eye(4), (2, 1, 1)))


@pytest.mark.parametrize(
    ("edges", "rotations", "message"),
    [
        ([[0, 0]], np.eye(3)[None], "joins 0 to itself"),
        ([[0, 5]], np.eye(3)[None], "name nodes 0 to 2"),
        ([[0, 1]], np.full((1, 3, 3), np.nan), "not finite"),
        ([[0, 1]], 2 * np.eye(3)[None], "off orthonormal"),
        ([[0, 1]], -np.eye(3)[None], "mirror"),
    ],
)
def test_bad_graphs_are_refused(edges, rotations, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RotationGraph(3, np.array(edges), rotations)


@pytest.mark.parametrize("scale", [False, True])
def test_exact_poses_are_found_exactly(scale: bool) -> None:
    graph, poses, _ = motion_graph(0.0, scale=scale, noise=0.0)
    found = optimize_poses(graph, with_scale=scale)
    assert np.allclose(found.T_world_node, np.linalg.inv(poses[0]) @ poses, atol=1e-7)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_poses_survive_wild_edges(scale: bool, rate: float) -> None:
    graph, poses, wild = motion_graph(rate, scale=scale)
    found = optimize_poses(graph, with_scale=scale)
    off = np.linalg.inv(np.linalg.inv(poses[0]) @ poses) @ found.T_world_node
    turns = so3.project(off[:, :3, :3])
    assert np.degrees(so3.angles(turns, np.eye(3)[None])).max() < 1.5
    assert np.linalg.norm(off[:, :3, 3], axis=1).max() < 0.3
    assert ((found.confidence < 0.5) == wild).mean() > 0.97
    assert (found.components == 0).all()


def test_residuals_have_the_derivatives_that_are_used() -> None:
    graph, poses, _ = motion_graph(0.0, scale=True, noise=10.0)
    measured = graph.relative()
    scales = np.cbrt(np.linalg.det(poses[:, :3, :3]))
    at = Poses(poses[:, :3, :3] / scales[:, None, None], poses[:, :3, 3], np.log(scales))
    at_i, at_j = _jacobians(graph.edges, at, _residuals(graph.edges, measured, at))
    rng = np.random.default_rng(0)
    step = 1e-6 * rng.normal(size=(30, 7))
    numeric = (
        _residuals(graph.edges, measured, _moved(at, step, with_scale=True))
        - _residuals(graph.edges, measured, _moved(at, -step, with_scale=True))
    ) / 2
    i, j = graph.edges.T
    linear = np.einsum("eab,eb->ea", at_i, step[i]) + np.einsum("eab,eb->ea", at_j, step[j])
    assert np.abs(numeric - linear).max() < 1e-6 * np.abs(linear).max()


def test_scaled_edges_need_with_scale() -> None:
    graph, _, _ = motion_graph(0.0, scale=True)
    with pytest.raises(ValueError, match="with_scale=True"):
        optimize_poses(graph)
    with pytest.raises(ValueError, match="mirrors"):
        optimize_poses(PoseGraph(2, np.array([[0, 1]]), np.diag([1.0, 1, -1, 1])[None]))


def test_translations_are_a_median() -> None:
    edges = np.array([[0, 1]] * 5)
    offsets = np.array([[1.0, 0], [1, 0], [1, 0], [50, 3], [-9, 70]])
    found = average_translations(2, edges, offsets, np.array([0]))
    assert np.allclose(found[1], [1, 0], atol=1e-3)


def test_bridges_are_edges_in_no_cycle() -> None:
    edges = np.array([[0, 1], [1, 2], [2, 0], [2, 3], [3, 4], [4, 5], [5, 3], [6, 7], [6, 7]])
    assert bridges(9, edges).tolist() == [False] * 3 + [True] + [False] * 5


def test_triangles_are_found_once_with_their_errors() -> None:
    made: SyntheticGraph = random_graph(9, degree=8.0, noise_deg=0.0, outlier_rate=0.0, seed=0)
    found = triangles(made.graph)
    assert len(found.errors) == 9 * 8 * 7 // 6
    assert found.errors.max() < 1e-7
    rotations = made.graph.rotations.copy()
    rotations[4] = so3.exp(np.array([0.3, 0, 0])) @ rotations[4]
    bent = triangles(RotationGraph(9, made.graph.edges, rotations))
    hit = (bent.edges == 4).any(axis=1)
    assert hit.sum() == 7
    assert np.allclose(bent.errors[hit], 0.3) and bent.errors[~hit].max() < 1e-7


def test_flag_mean_is_the_certified_optimum_of_others() -> None:
    """Twin: gtsam's Shonan averaging, whose minimum is certified."""
    pytest.importorskip("gtsam")
    from benchmarks.averaging_rivals import shonan

    made = random_graph(20, degree=6.0, noise_deg=4.0, outlier_rate=0.0, seed=4)
    found = average_rotations(made.graph, method="flag-mean").rotations
    certified = shonan(made.graph)
    assert certified is not None
    # Flags square the cosines, so the two least squares differ in the third order of the noise.
    assert errors_deg(found, certified).max() < 0.05
