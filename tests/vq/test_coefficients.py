"""The context coder of coefficients: round trips, its twin, hostile streams, efficiency."""

from typing import Any

import numpy as np
import pytest

from vq.vectors import coefficients
from vq.vectors.coefficients import Rounding, decode_coefficients, encode_coefficients

NATIVE = pytest.mark.skipif(coefficients._native is None, reason="vq._native is not built")


def laplacian(rows: int, dims: int, seed: int = 0) -> np.ndarray:
    """Rows whose dimensions fall off in scale and whose energy varies along the rows."""
    rng = np.random.default_rng(seed)
    energy = np.exp(np.sin(np.arange(rows) / 50))[:, None]
    values = rng.laplace(size=(rows, dims)) * energy * 6 / (1 + np.arange(dims))
    return np.round(values).astype(np.int32)


def causal(rows: int, seed: int = 0) -> np.ndarray:
    """A neighbor table as a caller with positions would make it."""
    rng = np.random.default_rng(seed)
    table = rng.integers(0, np.arange(rows).clip(1)[:, None], size=(rows, 8)).astype(np.int32)
    table[rng.random((rows, 8)) < 0.1] = -1
    table[0] = -1
    return table


def decoded(streams: list[bytes], rows: int, dims: int, **options: Any) -> np.ndarray:
    """The decoded values; fails where the decoder refuses."""
    values = decode_coefficients(streams, rows, dims, **options)
    assert values is not None
    return values


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (1, 45), (400, 7), (3, 1024)])
def test_round_trip(shape: tuple[int, int]) -> None:
    values = laplacian(*shape)
    streams = encode_coefficients(values)
    assert np.array_equal(decoded(streams, *shape), values)


def test_extreme_magnitudes_round_trip() -> None:
    values = np.array([[1 << 20, -(1 << 20), 0], [3, -3, (1 << 20) - 1]], dtype=np.int32)
    assert np.array_equal(decoded(encode_coefficients(values), 2, 3), values)
    with pytest.raises(ValueError, match="larger step"):
        encode_coefficients(values * 2)


@NATIVE
@pytest.mark.parametrize("with_table", [False, True])
@pytest.mark.parametrize("count_limit", [127, 1023])
def test_kernel_and_twin_write_the_same_bits(
    with_table: bool, count_limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = laplacian(90, 6) * 3
    table = causal(90) if with_table else None
    native = encode_coefficients(values, neighbors=table, count_limit=count_limit)
    monkeypatch.setattr(coefficients, "_native", None)
    assert encode_coefficients(values, neighbors=table, count_limit=count_limit) == native
    again = decoded(native, 90, 6, neighbors=table, count_limit=count_limit)
    assert np.array_equal(again, values)


@NATIVE
def test_kernel_and_twin_round_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    scaled = rng.laplace(size=(80, 5)).astype(np.float32) * 2
    centroids = np.tile(np.array([1.05, 2.02, 3.0], dtype=np.float32), (5, 1))
    rounding = Rounding(scaled, centroids, 0.12)
    chosen, twin = np.zeros((2, 80, 5), dtype=np.int32)
    streams = encode_coefficients(chosen, rounding=rounding)
    monkeypatch.setattr(coefficients, "_native", None)
    assert encode_coefficients(twin, rounding=rounding) == streams
    assert np.array_equal(chosen, twin)
    assert np.abs(chosen).sum() < np.abs(np.round(scaled)).sum()


@NATIVE
def test_threads_and_instruction_sets_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    native = coefficients._native
    assert native is not None
    monkeypatch.setattr(coefficients, "SEGMENT_ROWS", 100)
    values = laplacian(950, 9)
    wanted, isa, threads = encode_coefficients(values), native.isa(), native.num_threads()
    assert len(wanted) == 10
    try:
        native.set_isa("portable")
        native.set_num_threads(1)
        assert encode_coefficients(values) == wanted
        assert np.array_equal(decoded(wanted, 950, 9), values)
    finally:
        native.set_isa(isa)
        native.set_num_threads(threads)


@NATIVE
def test_within_half_a_percent_of_the_entropy_of_independent_symbols() -> None:
    values = np.round(np.random.default_rng(0).normal(0, 2, (200_000, 1))).astype(np.int32)
    _, counts = np.unique(values, return_counts=True)
    entropy = -(counts * np.log2(counts / counts.sum())).sum()
    coded = 8 * sum(map(len, encode_coefficients(values, count_limit=coefficients.STATIONARY)))
    # Measured: 1.0020 times the entropy.
    assert entropy < coded < 1.005 * entropy


@NATIVE
def test_damaged_streams_end_without_a_crash() -> None:
    rng = np.random.default_rng(0)
    [stream] = encode_coefficients(laplacian(300, 5))
    for _ in range(300):
        broken = bytearray(stream)
        broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        found = decode_coefficients([bytes(broken[: rng.integers(1, len(broken))])], 300, 5)
        assert found is None or found.shape == (300, 5)
    assert decode_coefficients([], 300, 5) is None
