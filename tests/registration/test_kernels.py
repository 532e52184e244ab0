"""Every native kernel against its NumPy twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from registration import reference
from registration.kernels import native_kernels

NATIVE: Any = native_kernels()
pytestmark = pytest.mark.skipif(NATIVE is None, reason="the native kernels were not built")
ISAS = ("portable", "avx2", "avx512")


@pytest.fixture(params=ISAS)
def native(request: pytest.FixtureRequest) -> Any:
    """The native module with each instruction set that this processor has."""
    chosen = NATIVE.isa()
    try:
        NATIVE.set_isa(request.param)
    except ValueError:
        pytest.skip(f"this processor has no {request.param}")
    yield NATIVE
    NATIVE.set_isa(chosen)


@pytest.fixture(scope="module")
def points() -> NDArray[np.float32]:
    """A bumpy sheet: normals and histograms are well defined."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(-1, 1, (900, 2))
    z = 0.3 * np.sin(4 * xy[:, 0]) * np.cos(3 * xy[:, 1] + 1)
    return np.column_stack([xy, z]).astype(np.float32)


def lists(module: Any, points: NDArray[np.float32], radius: float) -> tuple[Any, ...]:
    """Neighborhoods with sorted members."""
    offsets, indices, squared = module.KdTree(points).within(points, radius, 10_000)
    owners = np.repeat(np.arange(len(points)), np.diff(offsets))
    order = np.lexsort((indices, owners))
    return offsets, indices[order], squared[order]


@pytest.mark.parametrize("count", [1, 15, 16, 17, 900])
def test_searches_find_the_same_points(native: Any, points: Any, count: int) -> None:
    """Nearest, several nearest and all within a radius; -1 where there are fewer."""
    trees = [module.KdTree(points[:count]) for module in (native, reference)]
    queries = points[::7] + np.float32(0.01)
    (i, a), (j, b) = (tree.nearest(queries, 0.3) for tree in trees)
    np.testing.assert_array_equal(i, j)
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9)
    (i, a), (j, b) = (tree.nearest_few(queries, 5, 0.3) for tree in trees)
    np.testing.assert_array_equal(i, j)
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9)
    ours, theirs = (lists(module, points[:count], 0.25) for module in (native, reference))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_voxels_hold_the_same_points(native: Any, points: Any) -> None:
    """Order, starts and the counts of the 27 voxels around."""
    low = points.min(axis=0)
    for ours, theirs in zip(
        native.voxel_groups(points, low, 0.17), reference.voxel_groups(points, low, 0.17),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(ours, theirs)
    needed = np.array([1, 1, 2, 2, 3, 1], np.int32)
    np.testing.assert_array_equal(
        native.voxel_counts(points, low, 0.03, needed),
        reference.voxel_counts(points, low, 0.03, needed),
    )


def test_normals_and_histograms_agree(native: Any, points: Any) -> None:
    """The sign of a normal included, save where the mass lies in the tangent plane."""
    near = lists(native, points, 0.3)
    ours = native.normals(points, *near, 0.2)
    theirs = reference.normals(points, near[0], near[1], near[2], 0.2)
    same = np.abs((ours * theirs).sum(1))
    assert same.min() > 1 - 1e-5
    assert ((ours * theirs).sum(1) > 0).mean() > 0.999
    np.testing.assert_allclose(
        native.histograms(points, theirs, *near),
        reference.histograms(points, theirs, *near),
        atol=2e-3,  # 4e-4 was seen: a vote on the border of two bins
    )


@pytest.mark.parametrize("rows", [1, 2, 16, 333])
def test_matches_agree(native: Any, rows: int) -> None:
    """Nearest row and both distances, tables that do not fill their last tile included."""
    rng = np.random.default_rng(rows)
    table = rng.normal(size=(rows, 33)).astype(np.float32)
    queries = rng.normal(size=(57, 33)).astype(np.float32)
    (i, a), (j, b) = native.match(table, queries), reference.match(table, queries)
    np.testing.assert_array_equal(i, j)
    np.testing.assert_allclose(a[:, 0], b[:, 0], rtol=1e-4)
    if rows > 1:
        np.testing.assert_allclose(a[:, 1], b[:, 1], rtol=1e-4)


def test_consensus_finds_the_planted_pose(native: Any, points: Any) -> None:
    """80 of 400 correspondences agree; both twins find their pose from the same seeds."""
    from .conftest import motion, moved

    rng = np.random.default_rng(3)
    truth = motion(3)
    p = points[:400]
    q = moved(p.astype(np.float64), truth) + rng.normal(0, 0.002, p.shape)
    q[80:] = rng.uniform(q.min(0), q.max(0), (320, 3))
    q = q.astype(np.float32)
    ours, seeds = native.consensus(p, q, 0.02, 0.1, 16, 20)
    theirs, other = reference.consensus(p, q, 0.02, 0.1, 16, 20)
    assert seeds[0] == other[0]
    best = ours[ours[:, 12].argmax()]
    np.testing.assert_allclose(best[:9].reshape(3, 3), truth[:3, :3], atol=3e-3)
    np.testing.assert_allclose(ours[0], theirs[0], atol=2e-3)


@pytest.mark.parametrize("with_scale", [False, True])
def test_refinement_agrees_and_converges(native: Any, points: Any, with_scale: bool) -> None:
    """From a pose 2 degrees and 2 % off, both twins end at the truth."""
    scale = 1.03 if with_scale else 1.0
    turn = np.radians(2.0)
    start = np.eye(3)
    start[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    pose = np.concatenate([start.ravel(), [0.01, -0.01, 0.01], [1.0]])
    target = (points * np.float32(scale)).astype(np.float32)
    gates = np.tile(np.array([[0.25, 0.05]], np.float32), (25, 1))
    results = []
    for module in (native, reference):
        near = lists(module, points, 0.3)
        normals = reference.normals(points, near[0], near[1], near[2], 0.2)
        grid = module.NearestGrid(target, normals, 0.02, 0.3)
        back = module.NearestGrid(points, normals, 0.02, 0.3) if with_scale else None
        args = (target, normals, back) if with_scale else (None, None, None)
        found = module.refine(points, normals, grid, pose, gates, with_scale, 1e-7, *args)
        results.append(found[0])
        scores = module.score_poses(points, normals, grid, np.stack([found[0], pose]), 0.1)
        assert scores[0] > 0.95 * len(points) > scores[1] * 0.95
    for found in results:
        np.testing.assert_allclose(found[:9].reshape(3, 3), np.eye(3), atol=2e-3)
        np.testing.assert_allclose(found[12], scale, atol=2e-3)


def test_threads_change_no_bit(points: Any) -> None:
    """Sums run over ranges that the number of threads does not change."""
    near = lists(NATIVE, points, 0.3)
    normals = NATIVE.normals(points, *near, 0.2)
    grid = NATIVE.NearestGrid(points, normals, 0.02, 0.3)
    pose = np.concatenate([np.eye(3).ravel(), [0.02, 0.01, 0], [1.0]])
    gates = np.tile(np.array([[0.25, 0.05]], np.float32), (3, 1))
    chosen = NATIVE.num_threads()
    found = []
    for count in (1, 2, 5):
        NATIVE.set_num_threads(count)
        found.append(
            NATIVE.refine(points, normals, grid, pose, gates, False, 0.0, None, None, None)[0]
        )
    NATIVE.set_num_threads(chosen)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
