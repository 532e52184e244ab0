"""Entropy-constrained quantization against the known limits of a Gaussian source."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from vq.quantizers import EntropyConstrainedQuantizer, VectorQuantizer


def normals(count: int, *, dim: int = 1, seed: int = 0) -> Tensor:
    """Independent standard normal vectors."""
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def rate_and_snr(quantizer: EntropyConstrainedQuantizer, x: Tensor) -> tuple[float, float]:
    """Bits per value and dB, on `x`."""
    made = quantizer(x)
    error = (made.values - x).square().mean() / x.square().mean()
    return made.bits.item() / x.numel(), -10 * math.log10(error.item())


@pytest.mark.parametrize(("bits", "snr"), [(1, 4.58), (2, 10.51), (3, 16.53)])
def test_scalar_codes_reach_the_table_of_entropy_coded_quantization(bits: int, snr: float) -> None:
    """Within 0.1 dB of the best entropy-coded scalar quantizer of N(0, 1), held out.

    The targets are the optimal uniform ones; λ = 2 ln 2 D is the slope of the curve there.
    """
    error = 10 ** (-snr / 10)
    quantizer = EntropyConstrainedQuantizer(
        1, 64, rate_weight=2 * math.log(2) * error, iterations=120
    ).eval()
    quantizer.fit(normals(60_000))
    rate, found = rate_and_snr(quantizer, normals(60_000, seed=1))
    assert rate == pytest.approx(bits, abs=0.25)
    slope = {1: 5.5, 2: 5.95, 3: 6.02}[bits]
    assert found - snr - slope * (rate - bits) == pytest.approx(0, abs=0.1)
    assert found < 6.0206 * rate


def test_it_beats_k_means_at_its_own_price() -> None:
    """D + λR on held-out data is lower than that of k-means with as many codes, entropy-coded."""
    x, unseen = normals(8000, dim=2) ** 3, normals(8000, dim=2, seed=1) ** 3
    rate_weight = 0.3
    constrained = EntropyConstrainedQuantizer(2, 128, rate_weight=rate_weight).eval()
    plain = VectorQuantizer(2, 128).eval()
    prices = []
    for quantizer in (constrained, plain):
        quantizer.fit(x)
        made = quantizer(unseen)
        error = (made.values - unseen).square().sum(1).mean()
        prices.append((error + rate_weight * made.bits / len(unseen)).item())
    assert prices[0] < 0.9 * prices[1]


def test_fit_never_raises_the_price() -> None:
    """Chou's alternation is a descent on D + λR: with every round the fitted data gets cheaper."""
    x, prices = normals(2000, dim=2), []
    quantizer = EntropyConstrainedQuantizer(2, 32, rate_weight=0.2, iterations=10).eval()
    quantizer.fit(x)
    for _ in range(12):
        made = quantizer(x)
        error = (made.values - x).square().sum(1).mean()
        prices.append((error + 0.2 * made.bits / len(x)).item())
        with torch.no_grad():
            quantizer._alternate(x, torch.ones(len(x)))
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(prices))
    assert prices[-1] < prices[0]


def test_assignment_weighs_distance_and_length() -> None:
    """argmin |x - c|² + λ len, by hand; without a price it is the nearest code."""
    x = normals(200, dim=3)
    for rate_weight in (0.0, 0.5):
        quantizer = EntropyConstrainedQuantizer(3, 10, rate_weight=rate_weight).eval()
        with torch.no_grad():
            quantizer.logits.copy_(torch.linspace(-3, 3, 10))
        lengths = -quantizer.logits.softmax(0).log2()
        costs = torch.cdist(x, quantizer.codebook).square() + rate_weight * lengths
        assert torch.equal(quantizer.encode(x)[:, 0], costs.argmin(1))
        made = quantizer(x)
        assert made.bits.item() == pytest.approx(lengths[made.indices[:, 0]].sum().item(), rel=1e-5)


def test_the_rate_is_differentiable_and_learns_the_entropy() -> None:
    """d bits / d logits is (n p - counts)/ln 2; descent reaches the entropy of the indices."""
    quantizer, x = EntropyConstrainedQuantizer(2, 8, rate_weight=0.0).eval(), normals(500, dim=2)
    made = quantizer(x)
    counts = torch.bincount(made.indices[:, 0], minlength=8).float()
    (gradient,) = torch.autograd.grad(made.bits, quantizer.logits)
    torch.testing.assert_close(gradient, (500 / 8 - counts) / math.log(2))
    optimizer = torch.optim.Adam([quantizer.logits], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        quantizer(x).bits.backward()
        optimizer.step()
    entropy = torch.special.entr(counts / 500).sum() / math.log(2)
    assert quantizer(x).bits.item() / 500 == pytest.approx(entropy.item(), rel=0.01)


def test_training_learns_codes_and_lengths() -> None:
    """Descent on the loss alone lowers D + λR of held-out vectors."""
    quantizer = EntropyConstrainedQuantizer(2, 32, rate_weight=0.1)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=2e-2)
    unseen = 3 * normals(500, dim=2, seed=99)

    def price() -> float:
        made = quantizer.eval()(unseen)
        quantizer.train()
        return made.loss.item()

    start = price()
    for step in range(150):
        optimizer.zero_grad()
        quantizer(3 * normals(200, dim=2, seed=step)).loss.backward()
        optimizer.step()
    assert price() < 0.6 * start


def test_a_negative_price_is_refused() -> None:
    """λ >= 0."""
    with pytest.raises(ValueError, match="`rate_weight` must be at least 0, got -1"):
        EntropyConstrainedQuantizer(2, 8, rate_weight=-1.0)
