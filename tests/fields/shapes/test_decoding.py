"""Sparse extraction against the dense lattice, and the scores."""

from __future__ import annotations

import numpy as np
import pytest

from fields.shapes.decoding import extract_mesh, lattice_values
from fields.shapes.mesh import MeshError
from fields.shapes.metrics import (
    Surface,
    better,
    bootstrap,
    near_accuracy,
    surface_scores,
    topology_gap,
    volume_iou,
)
from fields.shapes.procedural import procedural_shape, tessellated
from fields.shapes.topology import Topology

from .solids import box_distance, box_mesh, sphere_mesh


def sphere(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points, axis=1) - 0.7


def torus(points: np.ndarray) -> np.ndarray:
    return np.hypot(np.hypot(points[:, 0], points[:, 1]) - 0.6, points[:, 2]) - 0.2


@pytest.mark.parametrize("distance", [sphere, torus])
@pytest.mark.parametrize("resolution", [32, 96, 128])
def test_sparse_equals_dense(distance, resolution: int) -> None:
    asked = 0

    def counted(points: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += len(points)
        return distance(points)

    sparse = extract_mesh(counted, resolution)
    dense = extract_mesh(distance, resolution, dense=True)
    np.testing.assert_array_equal(sparse.vertices, dense.vertices)
    np.testing.assert_array_equal(sparse.faces, dense.faces)
    if resolution == 128:
        assert asked < (resolution + 1) ** 3 / 4


def test_signs_hold_away_from_the_surface() -> None:
    values = lattice_values(torus, 128)
    exact = lattice_values(torus, 128, dense=True)
    assert ((values < 0) == (exact < 0)).all()


def test_normals_point_outward_and_the_mesh_closes() -> None:
    mesh = extract_mesh(torus, 64)
    topology = Topology.of(mesh)
    assert topology.closed and topology.opposed.all() and topology.euler == 0
    a, b, c = mesh.corners.transpose(1, 0, 2)
    volume = (a * np.cross(b, c)).sum() / 6
    assert volume == pytest.approx(2 * np.pi**2 * 0.6 * 0.2**2, rel=0.02)


def test_a_shape_that_touches_the_box_is_closed() -> None:
    mesh = extract_mesh(lambda p: p[:, 2], 32)
    assert Topology.of(mesh).closed


def test_errors() -> None:
    with pytest.raises(MeshError, match="outside"):
        extract_mesh(lambda p: np.ones(len(p)), 32)
    with pytest.raises(ValueError, match="power of two"):
        extract_mesh(sphere, 130)
    with pytest.raises(ValueError, match="at least 32"):
        extract_mesh(sphere, 16)


def test_scores_of_concentric_spheres() -> None:
    one, other = Surface.of(sphere_mesh(0.9, 64)), Surface.of(sphere_mesh(0.905, 64), seed=1)
    scores = surface_scores(one, other)
    same = surface_scores(one, Surface.of(sphere_mesh(0.9, 64), seed=1))
    assert same.chamfer_l1 < 1e-6 and same.f_score == 1
    assert scores.chamfer_l1 == pytest.approx(0.005, rel=0.02)
    assert scores.chamfer_sum == 2 * scores.chamfer_l1
    assert scores.f_score == 1 and scores.normal_consistency > 0.99
    far = surface_scores(one, Surface.of(sphere_mesh(0.95, 64)))
    assert far.f_score == 0 and far.f_score_2 == 0
    assert scores.sharp_f is None


def test_scores_of_a_cube() -> None:
    true = Surface.of(box_mesh(0.9), count=30_000)
    same = surface_scores(true, Surface.of(box_mesh(0.9), count=30_000, seed=1))
    assert same.sharp_f is not None and same.sharp_f > 0.99 and same.normal_consistency > 0.99
    round_one = surface_scores(true, Surface.of(sphere_mesh(0.9), count=30_000))
    assert round_one.sharp_f == 0


def test_insides_and_topology() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (200_000, 3))
    small, large = box_distance(points, 0.4), box_distance(points, 0.5)
    assert volume_iou(small, large) == pytest.approx(0.8**3, abs=0.01)
    assert volume_iou(np.ones(3), np.ones(3)) == 1
    sigma = np.repeat([0, 1], 100_000)
    fine, coarse = near_accuracy(small, np.where(sigma == 1, -small, small), sigma)
    assert fine == 1 and coarse < 0.01
    gap = topology_gap(extract_mesh(sphere, 32), extract_mesh(torus, 64))
    assert (gap.components, gap.genus, gap.boundary_edges) == (0, 1, 0)
    assert Topology.of(tessellated(procedural_shape(1)[1], resolution=24)).closed


def test_intervals() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        found = bootstrap(rng.normal(size=40), rounds=300, seed=trial)
        covered += found.low <= 0 <= found.high
    assert 85 <= covered <= 100
    base = rng.normal(size=30)
    assert better(base + 0.1 + 0.01 * rng.normal(size=30), base)[0]
    assert not better(base + 0.1 * rng.normal(size=30), base)[0]
