"""Scalar codecs: what each promises about bits, errors and access, and damaged bytes."""

from typing import Any

import numpy as np
import pytest
import torch

from vq import Codec, CodecError
from vq.scalar import (
    DeadZoneCodec,
    GridCodec,
    LvqCodec,
    OsqCodec,
    ResqCodec,
    allocate_bits,
)
from vq.scalar.bitpack import pack_rows, packed_size, unpack_rows
from vq.vectors import coefficients

CODECS = [GridCodec(12), LvqCodec(4, 4), OsqCodec(40), ResqCodec(), DeadZoneCodec(0.05)]

# vq.md 5.3: bits -> dB of entropy-constrained scalar quantization of N(0, 1).
ECSQ = {0.25: 1.03, 0.5: 2.09, 1: 4.58, 2: 10.51, 3: 16.53, 4: 22.55, 5: 28.57, 6: 34.59}


def correlated(rows: int = 600, dims: int = 10, seed: int = 0) -> np.ndarray:
    """Gaussian rows with falling variances, turned and shifted."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    return (rng.normal(size=(rows, dims)) * 2.0 ** -np.arange(dims) @ turn + 3).astype(np.float32)


def snr(x: np.ndarray, y: np.ndarray) -> float:
    """Decibels of variance over error."""
    return float(10 * np.log10(np.square(x - x.mean(0)).sum() / np.square(x - y).sum()))


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.name)
@pytest.mark.parametrize("rows", [0, 1, 77])
def test_round_trips(codec: Any, rows: int) -> None:
    assert isinstance(codec, Codec)
    x = correlated(600)[:rows]
    data = codec.encode(x)
    y = codec.decode(data)
    assert y.shape == x.shape and y.dtype == np.float32
    assert np.array_equal(codec.decode(codec.encode(x)), y)
    if rows > 1:
        assert snr(x, y) > 12
        estimate = float(codec.rate(torch.from_numpy(x)))
        assert estimate <= 8 * len(data) * 1.1


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.name)
def test_damaged_bytes_raise_or_decode(codec: Any) -> None:
    data = codec.encode(correlated(50))
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(data[: rng.integers(1, len(data) + 1)])
        broken[rng.integers(min(len(broken), 60))] ^= 1 << rng.integers(8)
        try:
            assert codec.decode(bytes(broken), max_items=10_000).dtype == np.float32
        except CodecError:
            pass
    with pytest.raises(CodecError):
        codec.decode(data + b"x")
    with pytest.raises(CodecError, match="bound"):
        codec.decode(data, max_items=10)


def test_packed_rows_take_the_sum_of_their_bits_and_open_anywhere() -> None:
    rng = np.random.default_rng(0)
    widths = [3, 0, 11, 1, 7]
    codes = rng.integers(0, 1 << np.array(widths), size=(1001, 5))
    packed = pack_rows(codes, widths)
    assert len(packed) == packed_size(1001, widths) == (1001 * 22 + 7) // 8
    chosen = rng.permutation(1001)[:50]
    found = unpack_rows(np.frombuffer(packed, np.uint8), widths, chosen)
    assert np.array_equal(found, codes[chosen])


def test_osq_stores_exactly_the_sum_of_bits_with_random_access() -> None:
    x, codec = correlated(), OsqCodec(37)
    data = codec.encode(x)
    shorter = codec.encode(x[:592])
    # Eight rows more are 37 bytes more: nothing is padded.
    assert len(codec.encode(x)) - len(shorter) == 37
    some = np.array([5, 599, 0])
    assert np.array_equal(codec.decode(data, rows=some), codec.decode(data)[some])


def test_osq_allocation_is_greedy() -> None:
    variances = np.array([16.0, 4.0, 1.0, 0.01])
    assert allocate_bits(variances, 6).tolist() == [3, 2, 1, 0]
    assert allocate_bits(variances, 3).tolist() == [2, 1, 0, 0]
    best = snr_of_allocation(variances, allocate_bits(variances, 6))
    for _ in range(200):
        other = np.random.default_rng(_).multinomial(6, [0.25] * 4)
        assert snr_of_allocation(variances, other) <= best + 1e-12


def snr_of_allocation(variances: np.ndarray, bits: np.ndarray) -> float:
    """Minus the distortion that the allocation rule assumes."""
    return -float((variances * 4.0**-bits).sum())


def test_lvq_error_is_half_a_step_and_the_second_level_divides_it() -> None:
    x = correlated()
    low, high = (x - x.mean(0)).min(1), (x - x.mean(0)).max(1)
    step = (high - low) / 15
    data = LvqCodec(4, 4).encode(x)
    one, two = LvqCodec().decode(data, levels=1), LvqCodec().decode(data)
    assert (np.abs(one - x).max(1) <= 0.51 * step + 1e-5).all()
    assert (np.abs(two - x).max(1) <= 0.51 * step / 16 + 1e-5).all()
    # No further constants: 4 + 4 bits per value, 32 per row, and the head with the mean.
    assert len(data) == 600 * 10 + 600 * 4 + 10 * 4 + 7


def test_resq_spends_two_precisions() -> None:
    x = correlated(dims=16)
    codec = ResqCodec()
    longer = len(codec.encode(np.concatenate([x, x]))) - len(codec.encode(x))
    assert 8 * longer == 600 * (2 * 8 + 14 * 4)
    flat = ResqCodec(high_bits=4)
    assert snr(x, codec.decode(codec.encode(x))) > snr(x, flat.decode(flat.encode(x))) + 6


def test_grid_error_is_half_a_step() -> None:
    x = correlated()
    step = (x.max(0) - x.min(0)) / (2**12 - 1)
    assert (np.abs(GridCodec(12).decode(GridCodec(12).encode(x)) - x) <= 0.5001 * step + 1e-6).all()


def gaussian_at(rate: float, count: int) -> tuple[float, float]:
    """Measured bits per value and dB of N(0, 1) at the step whose rate is nearest."""
    x = np.random.default_rng(1).normal(size=count).astype(np.float32)
    low, high = 2.2 * 2.0**-rate, 6.0 * 2.0**-rate
    codec = DeadZoneCodec(high)
    for _ in range(9):
        codec = DeadZoneCodec((low * high) ** 0.5)
        over = 8 * len(codec.encode(x)) > rate * count
        low, high = (codec.step, high) if over else (low, codec.step)
    data = codec.encode(x)
    return 8 * len(data) / count, snr(x, codec.decode(data))


@pytest.mark.slow
@pytest.mark.skipif(coefficients._native is None, reason="vq._native is not built")
@pytest.mark.parametrize("rate", list(ECSQ))
def test_dead_zone_on_gaussian_values_is_at_the_table(rate: float) -> None:
    bits, quality = gaussian_at(rate, 400_000)
    # The curve's slope is at most 6.02 dB per bit.
    assert quality + 6.02 * (rate - bits) > ECSQ[rate] - 0.05


@pytest.mark.skipif(coefficients._native is None, reason="vq._native is not built")
def test_dead_zone_fills_water_over_correlated_columns() -> None:
    rng = np.random.default_rng(0)
    variances = 4.0 ** -np.arange(8)
    x = (rng.normal(size=(50_000, 8)) * np.sqrt(variances)).astype(np.float32)
    for step in (0.05, 0.4, 1.0):
        data = DeadZoneCodec(step).encode(x)
        distortion = np.square(DeadZoneCodec().decode(data) - x).mean(0).sum()
        low, high, level = 0.0, 1.0, 0.5
        for _ in range(60):
            level = (low + high) / 2
            low, high = (
                (low, level) if np.minimum(level, variances).sum() > distortion else (level, high)
            )
        bound = 0.5 * np.log2(np.maximum(variances / level, 1)).sum()
        assert bound < 8 * len(data) / len(x) < bound + 0.3 * 8
