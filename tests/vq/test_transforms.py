"""Transforms: invertible, compacting, the same bits everywhere; gauges that change nothing."""

import numpy as np
import pytest
import scipy.fft

from vq import CodecError, Transform
from vq.transforms import (
    LinearTransform,
    RandomizedHadamard,
    canonical_factors,
    canonical_frames,
    dct,
    expand,
    expected_distortions,
    fit_klt,
    fit_leanvec,
    fit_low_rank,
    original_frames,
    product_error,
)
from vq.transforms.exact import exact_product
from vq.transforms.gauge import multiply


def correlated(rows: int = 2000, dims: int = 12, seed: int = 0) -> np.ndarray:
    """Gaussian rows with a random covariance and a mean."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.normal(size=(dims, dims)))[0] * 2.0 ** -np.arange(dims)
    return (rng.normal(size=(rows, dims)) @ mixing.T + rng.normal(size=dims)).astype(np.float32)


def rotation(quats: np.ndarray) -> np.ndarray:
    """Rotation matrices [n, 3, 3], column by column q e q*."""
    conjugate = quats * np.array([1, -1, -1, -1])
    axes = np.concatenate([np.zeros((3, 1)), np.eye(3)], axis=1)
    turned = multiply(multiply(quats[:, None], axes[None]), conjugate[:, None])
    return turned[..., 1:].transpose(0, 2, 1)


@pytest.mark.parametrize("kind", ["klt", "dct", "hadamard"])
def test_transforms_come_back_from_bytes_and_invert(kind: str) -> None:
    x = correlated()
    choices: dict[str, LinearTransform | RandomizedHadamard] = {
        "klt": fit_klt(x),
        "dct": dct(12),
        "hadamard": RandomizedHadamard(12, seed=7),
    }
    transform = choices[kind]
    assert isinstance(transform, Transform)
    again = type(transform).from_bytes(transform.to_bytes())
    coefficients = transform.forward(x)
    assert np.array_equal(again.inverse(coefficients), transform.inverse(coefficients))
    assert np.abs(again.inverse(coefficients) - x).max() < 2e-5
    with pytest.raises(CodecError):
        type(transform).from_bytes(transform.to_bytes()[:-1])


def test_klt_decorrelates_and_sorts() -> None:
    x = correlated()
    covariance = np.cov(fit_klt(x, bits=20).forward(x).T)
    variances = np.diag(covariance)
    assert (np.diff(variances) < 0).all()
    off_diagonal = covariance / np.sqrt(np.outer(variances, variances)) - np.eye(12)
    # Worst seen: 1e-3, between the smallest two of variances that span 22 bits.
    assert np.abs(off_diagonal).max() < 3e-3


def test_weighted_klt_keeps_what_shows() -> None:
    x = correlated()
    root = np.random.default_rng(1).normal(size=(12, 12))
    sensitivity = root @ root.T + 0.1 * np.eye(12)

    def visible(transform: LinearTransform) -> float:
        error = transform.inverse(transform.forward(x)) - x
        return float(np.einsum("ni,ij,nj->", error, sensitivity, error))

    assert visible(fit_klt(x, rank=4, sensitivity=sensitivity)) < visible(fit_klt(x, rank=4))
    full = fit_klt(x, sensitivity=sensitivity)
    assert np.abs(full.inverse(full.forward(x)) - x).max() < 1e-4
    coefficients = full.forward(x)
    norm = np.einsum("ni,ij,nj->n", x - full.mean, sensitivity, x - full.mean)
    assert np.allclose((coefficients**2).sum(1), norm, rtol=5e-3)


def test_integer_inverse_is_exact_and_refuses_what_is_not() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(-(2**20), 2**20, (50, 30)), rng.integers(-(2**15), 2**15, (30, 9))
    wanted = [
        [sum(int(a) * int(b) for a, b in zip(r, c, strict=True)) for c in right.T] for r in left
    ]
    assert np.array_equal(exact_product(left, right), np.array(wanted, dtype=np.float64))
    shuffled = rng.permutation(30)
    again = exact_product(left[:, shuffled], right[shuffled])
    assert np.array_equal(again, exact_product(left, right))
    with pytest.raises(ValueError, match="fewer bits"):
        exact_product(np.array([[1 << 40]]), np.array([[1 << 14]]))


def test_leanvec_learns_from_queries_of_another_distribution() -> None:
    x = correlated(seed=0) - correlated(seed=0).mean(0)
    queries = correlated(seed=5) - correlated(seed=5).mean(0)
    own, both = fit_leanvec(x, 3), fit_leanvec(x, 3, queries=queries)
    only = fit_leanvec(x, 3, queries=queries, beta=1.0)
    error = product_error(both, x, queries)
    assert error < 0.8 * product_error(own, x, queries)
    assert error <= product_error(only, x, queries)
    same = fit_leanvec(x, 3, queries=x)
    assert np.isclose(product_error(same, x, x), product_error(own, x, x), rtol=1e-3)


def test_hadamard_is_orthonormal_spreads_outliers_and_repeats() -> None:
    transform = RandomizedHadamard(45, seed=3)
    spike = np.zeros((1, 45), dtype=np.float32)
    spike[0, 17] = 8.0
    spread = transform.forward(spike)
    assert np.isclose(np.linalg.norm(spread), 8.0, atol=1e-5)
    # A random direction of 64 dimensions would have a largest entry near 2.5 of its mean 1.0.
    assert np.abs(spread).max() < 4.0
    matrix = transform.forward(np.eye(45, dtype=np.float32)).astype(np.float64)
    assert np.abs(matrix @ matrix.T - np.eye(45)).max() < 1e-6
    # Philox is specified bit by bit: these signs are the same on every machine.
    assert transform.signs[0, :8].tolist() == RandomizedHadamard(45, seed=3).signs[0, :8].tolist()
    assert abs(transform.signs.mean()) < 0.3
    assert not np.array_equal(transform.signs, RandomizedHadamard(45, seed=4).signs)


def test_dct_is_scipys() -> None:
    x = np.random.default_rng(0).normal(size=(20, 33)).astype(np.float32)
    assert np.allclose(
        dct(33, bits=20).forward(x), np.asarray(scipy.fft.dct(x, norm="ortho")), atol=1e-5
    )


def test_low_rank_grows_with_the_rate() -> None:
    x = correlated()
    ranks = [fit_low_rank(x, rate=rate).rank for rate in (1.0, 4.0, 16.0, 60.0)]
    assert ranks == sorted(ranks) and ranks[0] < ranks[-1]
    # With so many bits that quantization costs nothing, keeping everything is best.
    assert np.argmin(expected_distortions(4.0 ** -np.arange(5), 100.0)) == 4


def test_canonical_frames_keep_the_covariance_and_are_unique() -> None:
    rng = np.random.default_rng(0)
    quats, scales = rng.normal(size=(500, 4)), rng.normal(size=(500, 3))
    frames = canonical_frames(quats, scales)
    units = quats / np.linalg.norm(quats, axis=1, keepdims=True)

    def covariance(q: np.ndarray, s: np.ndarray) -> np.ndarray:
        axes = rotation(q) * np.exp(s)[:, None]
        return axes @ axes.transpose(0, 2, 1)

    wanted = covariance(units, scales)
    assert np.allclose(covariance(frames.quats, frames.log_scales), wanted, atol=1e-12)
    assert (np.diff(frames.log_scales, axis=1) <= 0).all()
    assert (frames.quats[:, 0] >= np.abs(frames.quats).max(1) - 1e-12).all()
    back, back_scales = original_frames(frames)
    assert np.array_equal(back_scales, scales)
    assert np.allclose(np.abs((back * units).sum(1)), 1, atol=1e-12)
    # Every other description of the same covariance has the same canonical one.
    for gauge in range(24):
        other = canonical_frames(
            *original_frames(type(frames)(frames.quats, frames.log_scales, np.full(500, gauge)))
        )
        assert np.allclose(other.quats, frames.quats, atol=1e-12)


def test_canonical_factors_keep_the_tensor_and_are_unique() -> None:
    rng = np.random.default_rng(0)
    factors = [rng.normal(size=(n, 5)) for n in (7, 6, 4)]
    canonical = canonical_factors(factors)
    tensor = np.einsum("ir,jr,kr->ijk", *factors)
    assert np.allclose(np.einsum("ir,jr,kr->ijk", *expand(canonical)), tensor)
    assert (np.diff(canonical.weights) <= 0).all()
    order = rng.permutation(5)
    other = canonical_factors(
        [factors[0][:, order] * -2, factors[1][:, order] * 0.5, factors[2][:, order] * 3]
    )
    assert np.allclose(other.weights, 3 * canonical.weights)
    for a, b in zip(other.factors[:2], canonical.factors[:2], strict=True):
        assert np.allclose(a, b)
    assert np.allclose(other.factors[2], -canonical.factors[2])
