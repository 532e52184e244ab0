"""Rate-distortion curves: every quantizer and codec on one array, everything a file holds counted.

Quantizers learn on the even rows and are scored on the odd ones; their codebooks are charged at 8
bits per number to the rows scored, their indices at the ideal code lengths that the training rows
promise. Codecs are charged the bytes they write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vq import Codec, Quantizer
from vq.plan import decode, encode, fit
from vq.quantizers import (
    BalancedQuantizer,
    EntropyConstrainedQuantizer,
    FiniteScalarQuantizer,
    LowRankQuantizer,
    ProductQuantizer,
    ResidualQuantizer,
    SimVQ,
    VectorQuantizer,
    ideal_bits,
)
from vq.scalar import DeadZoneCodec, GridCodec, LvqCodec, OsqCodec, ResqCodec

OURS = "vectors (default)"
CODE_BITS = 8
MATRIX_BITS = 16


@dataclass(frozen=True)
class Point:
    """One setting of one method."""

    method: str
    """Name in legends and tables."""
    bits: float
    """Per row, everything counted."""
    snr: float
    """10 log10 of variance over mean squared error, dB."""


def snr(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Decibels of the variance of `x` over the squared error of `y`."""
    centered = x - x.mean(0)
    error = np.square(x - y, dtype=np.float64).sum()
    return float(10 * np.log10(np.square(centered, dtype=np.float64).sum() / max(error, 1e-30)))


def shannon_bound(
    covariance: NDArray[np.float64], bits: NDArray[np.floating]
) -> NDArray[np.float64]:
    """dB that no code of Gaussian rows with this covariance exceeds at `bits` per row.

    Reverse water-filling: D_j = min(θ, λ_j), R = sum of ½ log2(λ_j / D_j).
    """
    values = np.linalg.eigvalsh(covariance).clip(1e-30)
    levels = np.geomspace(values.max() * 1e-9, values.max(), 4000)
    held = np.minimum(levels[:, None], values)
    rates = 0.5 * np.log2(values / held).sum(1)
    quality = 10 * np.log10(values.sum() / held.sum(1))
    return np.interp(bits, rates[::-1], quality[::-1])


def plan_point(x: NDArray[np.float32], bits: float, method: str = OURS) -> Point:
    """The vector codec at a rate; rows [n, d] or [n, m, k]."""
    data = encode(x, fit(x, bits=bits))
    return Point(method, 8 * len(data) / len(x), snr(x, decode(data)))


def all_points(x: NDArray[np.float32], *, quick: bool) -> Iterator[Point]:
    """Every method on rows [n, d] or [n, m, k], several settings each."""
    for bits in (8, 20) if quick else (4, 8, 12, 16, 24, 32, 48, 64):
        yield plan_point(x, bits)
    rows = x.reshape(len(x), -1)
    for codec, name in _codecs(rows, quick):
        data = codec.encode(rows)
        yield Point(name, 8 * len(data) / len(rows), snr(rows, codec.decode(data)))
    for name, make, side in _quantizers(rows.shape[1], float(rows.var(0).sum()), quick):
        yield _held_out(rows, name, make, side)


def _codecs(rows: NDArray[np.float32], quick: bool) -> Iterator[tuple[Codec, str]]:
    deviation = float(rows.std(0).max())
    for share in (0.5,) if quick else (3, 2, 1.4, 1, 0.7, 0.5):
        yield DeadZoneCodec(deviation * share), "dead zone, no transform"
    for bits in (4,) if quick else (2, 3, 4, 5):
        yield LvqCodec(bits), "LVQ"
    for bits in (32,) if quick else (8, 16, 24, 32, 48, 64, 96):
        yield OsqCodec(bits), "OSQ"
    yield ResqCodec(high_bits=6, low_bits=2), "ResQ"
    yield ResqCodec(high_bits=8, low_bits=4), "ResQ"
    for bits in (3,) if quick else (2, 3, 4):
        yield GridCodec(bits), "grid"


def _quantizers(
    dim: int, variance: float, quick: bool
) -> Iterator[tuple[str, Callable[[], Quantizer], float]]:
    """Name, maker and side information in bits."""
    turns = 4 if quick else 10
    code = CODE_BITS * dim

    def plain(size: int, seed: int = 0) -> VectorQuantizer:
        return VectorQuantizer(dim, size, iterations=turns, seed=seed)

    for size in (64,) if quick else (16, 64, 256, 1024):
        yield "VQ (k-means)", lambda size=size: plain(size), size * code
    for count in (2,) if quick else (1, 2, 4, 6):
        yield (
            "residual VQ 64",
            lambda count=count: ResidualQuantizer([plain(64, s) for s in range(count)]),
            count * 64 * code,
        )
    for groups in (4,) if quick else (2, 4):
        yield (
            "product VQ 64, rotated",
            lambda groups=groups: ProductQuantizer(
                dim, groups, 64, rotate=True, rounds=2, iterations=turns
            ),
            64 * code + MATRIX_BITS * dim**2,
        )
    yield "balanced VQ 64", lambda: BalancedQuantizer(dim, 64, iterations=2), 64 * code
    yield "SimVQ 256", lambda: SimVQ(dim, 256, iterations=turns), MATRIX_BITS * dim**2
    for share in (0.1,) if quick else (0.06, 0.15):
        yield (
            "entropy-constrained VQ 256",
            lambda share=share: EntropyConstrainedQuantizer(
                dim, 256, rate_weight=share * variance / 4, iterations=turns
            ),
            256 * code,
        )
    rank = min(8, dim)
    yield (
        "low-rank VQ 256",
        lambda: LowRankQuantizer(dim, VectorQuantizer(rank, 256, iterations=turns)),
        256 * CODE_BITS * rank + MATRIX_BITS * (rank + 1) * dim,
    )
    for levels in (3,) if quick else (3, 5, 8):
        yield "FSQ", lambda levels=levels: FiniteScalarQuantizer([levels] * dim), 64 * dim


def _held_out(
    rows: NDArray[np.float32], name: str, make: Callable[[], Quantizer], side: float
) -> Point:
    train, test = torch.from_numpy(rows[::2].copy()), torch.from_numpy(rows[1::2].copy())
    quantizer = make().fit(train).eval()
    seen, coded = quantizer.encode(train), quantizer.encode(test)
    sizes = quantizer.num_codes
    columns = zip(seen.T, sizes, strict=True)
    counts = torch.cat([torch.bincount(column, minlength=k) for column, k in columns]).float()
    bits = float(ideal_bits(coded, counts, sizes)) + side
    with torch.no_grad():
        values = quantizer.decode(coded).numpy()
    return Point(name, bits / len(test), snr(test.numpy(), values))
