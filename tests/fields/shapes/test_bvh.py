"""The native hierarchy against its twin, and both against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from fields.shapes import bvh
from fields.shapes.bvh import MeshIndex
from fields.shapes.mesh import TriangleMesh
from fields.shapes.signed_distance import SignedDistance, parity_inside, ray_directions

from .solids import box_distance, box_mesh, joined, sphere_mesh

native = pytest.mark.skipif(bvh._native is None, reason="built without a C++ compiler")


def soup(count: int, seed: int = 0) -> TriangleMesh:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-1, 1, (count, 1, 3)) + 0.2 * rng.standard_normal((count, 3, 3))
    return TriangleMesh(corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3))


@native
@pytest.mark.parametrize("count", [1, 5, 300])
def test_native_equals_its_twin(count: int) -> None:
    mesh, rng = soup(count), np.random.default_rng(1)
    points = rng.uniform(-1.5, 1.5, (200, 3)).astype(np.float32)
    fast, plain = MeshIndex(mesh), MeshIndex(mesh, native=False)
    np.testing.assert_allclose(
        fast.closest(points).distances, plain.closest(points).distances, atol=2e-6
    )
    for direction in ray_directions(3):
        assert (fast.crossings(points, direction) == plain.crossings(points, direction)).all()
    exact = fast.winding(points, beta=1e9)
    np.testing.assert_allclose(exact, plain.winding(points), atol=1e-5)
    assert np.abs(fast.winding(points) - exact).max() < 0.05  # dipoles


@native
def test_flat_faces_are_harmless() -> None:
    flat = TriangleMesh(np.array([[0.0, 0, 0], [1, 0, 0], [0.5, 0, 0]]), np.array([[0, 1, 2]]))
    points = np.array([[0.5, 2.0, 0.0], [-3.0, 0.0, 0.0]])
    found = MeshIndex(flat).closest(points).distances
    np.testing.assert_allclose(found, [2, 3], atol=1e-6)
    assert not MeshIndex(flat).winding(points).any()


def test_distance_and_sign_of_a_cube() -> None:
    points = np.random.default_rng(2).uniform(-1, 1, (100_000, 3)).astype(np.float32)
    index = MeshIndex(box_mesh(0.6))
    true = box_distance(points.astype(np.float64), 0.6)
    np.testing.assert_allclose(SignedDistance(index, "solid")(points), true, atol=1e-5)
    clear = np.abs(true) > 1e-6
    assert ((parity_inside(index, points) == (true < 0)) | ~clear).all()


def test_empty_questions_and_wrong_ones() -> None:
    index = MeshIndex(sphere_mesh(0.5))
    assert len(index.closest(np.zeros((0, 3))).distances) == 0
    with pytest.raises(ValueError, match="finite"):
        index.closest(np.array([[np.nan, 0, 0]]))
    with pytest.raises(ValueError, match="face"):
        MeshIndex(TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64)))


def test_overlapping_parts_unite() -> None:
    both = joined(box_mesh(0.5), box_mesh(0.5, (0.4, 0.0, 0.0)))
    index = MeshIndex(both)
    overlap = np.array([[0.2, 0.0, 0.0]])
    assert index.winding(overlap)[0] == pytest.approx(2, abs=1e-3)
    assert SignedDistance(index, "solid")(overlap)[0] < 0
    assert not parity_inside(index, overlap)[0]
