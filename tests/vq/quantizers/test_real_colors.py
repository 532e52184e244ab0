"""Fitted quantizers on the view-dependent color of a real capture."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import splats.formats
from vq import Quantizer
from vq.entropy import rans
from vq.quantizers import EntropyConstrainedQuantizer, ResidualQuantizer, VectorQuantizer


@pytest.fixture(scope="module")
def colors(shared_data: Path) -> Tensor:
    """Degree 1 to 3 coefficients of `toy-cat`, [23261, 45]."""
    path = shared_data / "splats" / "toy-cat" / "scene.compressed.ply"
    return splats.formats.load(path).shN.flatten(1).float()


def rate_and_snr(quantizer: Quantizer, x: Tensor) -> tuple[float, float]:
    """Bits per vector under the quantizer's statistics, and dB over the variance of `x`."""
    made = quantizer.eval()(x)
    signal = (x - x.mean(0)).square().sum()
    noise = (made.values - x).square().sum()
    return made.bits.item() / len(x), 10 * math.log10((signal / noise).item())


def test_residual_stages_reach_what_faiss_reaches(colors: Tensor) -> None:
    """Two stages of 64 codes and a beam of 5 on the fitted data: faiss has 11.0 bits, 3.7 dB."""
    stages = [VectorQuantizer(45, 64, seed=seed) for seed in range(2)]
    quantizer = ResidualQuantizer(stages, beam=5)
    quantizer.fit(colors)
    bits, snr = rate_and_snr(quantizer, colors)
    assert bits < 11.6
    # Between two and four stages faiss gains a quarter of a decibel per bit.
    assert snr > 3.7 + 0.25 * (bits - 11.0)


def test_reported_bits_are_those_of_a_file(colors: Tensor) -> None:
    """Static entropy coding of the indices takes the bits that were reported within 1 %."""
    stages = [VectorQuantizer(45, 64, iterations=4, seed=seed) for seed in range(3)]
    quantizer = ResidualQuantizer(stages).fit(colors).eval()
    made = quantizer(colors)
    coded = rans.encode(made.indices.numpy(), columns=True)
    assert 8 * len(coded) == pytest.approx(made.bits.item(), rel=0.01)
    decoded = torch.from_numpy(rans.decode(coded))
    assert torch.equal(quantizer.decode(decoded), made.values)


def test_paying_for_bits_beats_a_fixed_number_of_codes(colors: Tensor) -> None:
    """Held out: at no more bits than k-means with 256 codes, entropy-constrained is nearer."""
    order = torch.randperm(len(colors), generator=torch.Generator().manual_seed(0))
    known, unseen = colors[order[::2]], colors[order[1::2]]
    plain = VectorQuantizer(45, 256, iterations=10)
    paying = EntropyConstrainedQuantizer(45, 1024, rate_weight=0.0154, iterations=14)
    points = []
    for quantizer in (plain, paying):
        quantizer.fit(known)
        points.append(rate_and_snr(quantizer, unseen))
    assert points[1][0] <= points[0][0]
    assert points[1][1] > points[0][1] + 0.1
