"""Defining properties of first- and second-order difference subspaces."""

from __future__ import annotations

import numpy as np
import pytest

from registration.difference_subspaces import (
    difference,
    mean_subspace,
    moment_subspace,
    motion,
    orthonormal,
    second_difference,
    shape_subspace,
)

RNG = np.random.default_rng(0)


def subspace(n: int = 10, d: int = 3) -> np.ndarray:
    return orthonormal(RNG.normal(size=(n, d)))


def geodesic(start: np.ndarray, velocity: np.ndarray, time: float) -> np.ndarray:
    """The Grassmann geodesic from `start` with a horizontal velocity."""
    u, s, vt = np.linalg.svd(velocity, full_matrices=False)
    return (start @ vt.T * np.cos(s * time) + u * np.sin(s * time)) @ vt


def test_difference_and_mean_are_the_eigenspaces_of_the_sum_of_projectors() -> None:
    a, b = subspace(), subspace()
    values, vectors = np.linalg.eigh(a @ a.T + b @ b.T)
    small = vectors[:, (values > 1e-9) & (values < 1 - 1e-9)]
    large = vectors[:, values > 1 + 1e-9]
    d, m = difference(a, b).basis, mean_subspace(a, b)
    assert np.allclose(d @ d.T, small @ small.T, atol=1e-9)
    assert np.allclose(m @ m.T, large @ large.T, atol=1e-9)
    assert np.abs(d.T @ m).max() < 1e-12


def test_shared_directions_are_no_difference() -> None:
    shared = subspace(10, 1)
    a = orthonormal(np.concatenate([shared, RNG.normal(size=(10, 2))], axis=1))
    b = orthonormal(np.concatenate([shared, RNG.normal(size=(10, 2))], axis=1))
    found = difference(a, b)
    assert found.basis.shape == (10, 2) and np.abs(shared.T @ found.basis).max() < 1e-9
    assert difference(a, a).basis.shape == (10, 0) and difference(a, a).magnitude < 1e-7


def test_nothing_depends_on_bases_and_all_turns_along() -> None:
    a, b, c = subspace(), subspace(), subspace()
    turn = np.linalg.qr(RNG.normal(size=(10, 10)))[0]
    mixed = [turn @ s @ np.linalg.qr(RNG.normal(size=(3, 3)))[0] for s in (a, b, c)]
    plain, moved = second_difference(a, b, c), second_difference(*mixed)
    assert np.allclose(plain.angles, moved.angles, atol=1e-9)
    basis = turn @ plain.basis
    assert np.allclose(basis @ basis.T, moved.basis @ moved.basis.T, atol=1e-9)


def test_even_steps_along_a_geodesic_have_speed_and_no_acceleration() -> None:
    start = subspace()
    velocity = RNG.normal(size=(10, 3))
    velocity -= start @ (start.T @ velocity)
    velocity *= 0.1 / np.linalg.norm(velocity)
    series = [geodesic(start, velocity, t) for t in range(6)]
    found = motion(series)
    assert np.allclose(found.speed, 0.1, atol=1e-9)
    assert found.acceleration.max() < 1e-7
    bent = [geodesic(start, velocity, t**2 / 2) for t in range(6)]
    assert np.allclose(motion(bent).acceleration, 0.1, atol=1e-6)


def test_acceleration_peaks_where_a_shape_changes_its_course() -> None:
    points = RNG.normal(size=(200, 3))
    bend = points[:, :1] ** 2 * [0, 0, 0.3]
    twist = points[:, 1:2] * points[:, 2:] * [0.3, 0, 0]
    series = []
    for t in range(12):
        affine = np.eye(3) + 0.2 * t * RNG.normal(size=(3, 3)) / 10  # no change of the subspace
        shape = points + 0.05 * min(t, 6) * bend + 0.05 * max(t - 6, 0) * twist
        series.append(shape_subspace(shape @ affine.T + RNG.normal(size=3)))
    found = motion(series)
    assert int(found.acceleration.argmax()) == 5  # of the times 1 to 10: number 6
    assert found.acceleration[5] > 5 * np.delete(found.acceleration, 5).max()


def test_moments_of_scans_need_no_correspondence() -> None:
    surface = RNG.uniform(-1, 1, (4000, 3)) * [1, 1, 0.1]
    anchors = RNG.uniform(-1, 1, (60, 3)) * [1, 1, 0.1]

    def scan(shift: float) -> np.ndarray:
        chosen = surface[RNG.permutation(4000)[:3000]].copy()
        part = chosen[:, 0] > 0.5
        chosen[part, 2] += shift
        return moment_subspace(chosen, anchors, 0.3)

    still = motion([scan(0), scan(0), scan(0)])
    moving = motion([scan(0), scan(0), scan(0.3)])
    assert moving.speed[1] > 3 * still.speed.max()
    assert moving.acceleration[0] > 3 * still.acceleration[0]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        orthonormal(np.full((4, 2), np.nan))
    with pytest.raises(ValueError, match="only zeros"):
        shape_subspace(np.ones((5, 3)))
    with pytest.raises(ValueError, match="two subspaces or more"):
        motion([subspace()])
    with pytest.raises(ValueError, match="no unique mean"):
        mean_subspace(np.eye(4)[:, :1], np.eye(4)[:, 1:2])
    with pytest.raises(ValueError, match="width"):
        moment_subspace(np.zeros((4, 3)), np.zeros((2, 3)), 0.0)
