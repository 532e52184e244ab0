"""Flag means and medians: definitions, invariances, robustness, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from registration.averaging import (
    average_motion,
    average_rotation,
    chordal_distances,
    flag_mean,
    flag_median,
    so3,
)
from registration.averaging.flags import polar


def random_flags(count: int, n: int, d: int, spread: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return polar(np.eye(n, d) + spread * rng.normal(size=(count, n, d)))


def objective(flag: np.ndarray, flags: np.ndarray, kind: tuple[int, ...], power: int) -> float:
    return float((chordal_distances(flag, flags, kind) ** power).sum())


@pytest.mark.parametrize(("n", "kind"), [(3, (1, 2, 3)), (5, (1, 3)), (6, (2, 4))])
@pytest.mark.parametrize(("average", "power"), [(flag_mean, 2), (flag_median, 1)])
def test_no_nearby_flag_is_better(n: int, kind: tuple[int, ...], average, power: int) -> None:
    flags = random_flags(25, n, kind[-1], 0.3, seed=1)
    best = average(flags, kind)
    assert np.allclose(best.T @ best, np.eye(kind[-1]), atol=1e-12)
    rng = np.random.default_rng(2)
    least = objective(best, flags, kind, power)
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(20):
            other = polar(best + size * rng.normal(size=best.shape))
            assert objective(other, flags, kind, power) >= least - 1e-7


@pytest.mark.parametrize("average", [flag_mean, flag_median])
def test_average_turns_with_the_flags_and_ignores_signs(average) -> None:
    kind = (1, 3)
    flags = random_flags(15, 5, 3, 0.2, seed=3)
    best = average(flags, kind)
    rng = np.random.default_rng(4)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    flipped = turn @ flags * np.where(rng.random((15, 1, 3)) < 0.5, -1.0, 1.0)
    distance = chordal_distances(turn @ best, average(flipped, kind)[None], kind)[0]
    assert distance < 1e-5  # worst seen 3e-7: the square root of a difference of ones


def test_one_dimensional_flags_of_one_block_are_the_principal_subspace() -> None:
    flags = random_flags(30, 6, 2, 0.3, seed=5)
    scatter = np.einsum("jac,jbc->ab", flags, flags)
    principal = np.linalg.eigh(scatter)[1][:, -2:]
    assert chordal_distances(flag_mean(flags, (2,)), principal[None], (2,))[0] < 1e-6


def test_weights_count_like_repeated_flags() -> None:
    flags = random_flags(6, 4, 2, 0.3, seed=6)
    repeated = np.concatenate([flags, flags[:2], flags[:2]])
    weights = np.array([3.0, 3, 1, 1, 1, 1])
    a, b = flag_median(flags, (1, 2), weights=weights), flag_median(repeated, (1, 2))
    assert chordal_distances(a, b[None], (1, 2))[0] < 1e-5


def test_median_of_rotations_survives_what_carries_the_mean_away() -> None:
    rng = np.random.default_rng(0)
    errors = {True: [], False: []}
    for _ in range(20):
        truth = so3.random(1, rng)
        good = so3.exp(np.radians(5) * rng.normal(size=(50, 3))) @ truth
        rotations = np.concatenate([good, so3.random(40, rng)])
        for robust in (True, False):
            found = average_rotation(rotations, robust=robust)
            assert np.linalg.det(found) == pytest.approx(1)
            errors[robust].append(np.degrees(so3.angles(found[None], truth))[0])
    assert np.mean(errors[True]) < 2.0  # 1.5 seen; the chordal L1 mean has the same
    assert np.mean(errors[True]) < 0.6 * np.mean(errors[False])


@pytest.mark.parametrize("method", ["median", "mean"])
def test_equal_motions_average_to_themselves(method) -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        motion = np.eye(4)
        motion[:3, :3] = so3.random(1, rng)[0]
        motion[:3, 3] = 10 * rng.normal(size=3)
        found = average_motion(np.stack([motion] * 3), length=20.0, method=method)
        assert np.allclose(found, motion, atol=1e-9)


def test_median_motion_ignores_wild_ones() -> None:
    rng = np.random.default_rng(2)
    motions = np.tile(np.eye(4), (30, 1, 1))
    motions[:, :3, 3] = [1.0, 2.0, 3.0]
    motions[:, :3, :3] = so3.exp(0.01 * rng.normal(size=(30, 3)))
    motions[:, :3, 3] += 0.01 * rng.normal(size=(30, 3))
    motions[:12, :3, :3] = so3.random(12, rng)
    motions[:12, :3, 3] = 30 * rng.normal(size=(12, 3))
    found = average_motion(motions, length=20.0)
    assert np.degrees(so3.angles(found[None, :3, :3], np.eye(3)[None])[0]) < 1.0
    assert np.linalg.norm(found[:3, 3] - [1, 2, 3]) < 0.2


@pytest.mark.parametrize(
    ("flags", "message"),
    [(np.zeros((0, 4, 2)), "at least one flag"), (np.full((3, 4, 2), np.nan), "not finite")],
)
def test_bad_flags_are_refused(flags: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flag_mean(flags, (1, 2))


def test_type_and_weights_must_fit() -> None:
    flags = random_flags(4, 4, 2, 0.1, seed=0)
    with pytest.raises(ValueError, match="flag_type"):
        flag_mean(flags, (1, 3))
    with pytest.raises(ValueError, match="weights"):
        flag_mean(flags, (1, 2), weights=np.array([1.0, -1, 1, 1]))
    with pytest.raises(ValueError, match="length"):
        average_motion(np.eye(4)[None], length=0.0)
