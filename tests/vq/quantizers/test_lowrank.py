"""Low-rank quantization: the estimate of the rank against the truth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vq.quantizers import LowRankQuantizer, VectorQuantizer


def spectrum(count: int, variances: Tensor, *, seed: int = 0) -> Tensor:
    """Normal vectors with these eigenvalues of the covariance, turned and shifted."""
    generator = torch.Generator().manual_seed(9)
    axes = torch.linalg.qr(torch.randn(len(variances), len(variances), generator=generator))[0]
    x = torch.randn(count, len(variances), generator=torch.Generator().manual_seed(seed))
    return x * variances.sqrt() @ axes.T + 3


def test_the_chosen_rank_is_nearly_the_best_of_all() -> None:
    """Fitting every rank on real clusters of 64 codes: the choice is within 3 % of the best."""
    variances = torch.tensor([4.0, 3.0, 2.0, 0.05, 0.04, 0.03, 0.02, 0.01])
    x, unseen = spectrum(3000, variances), spectrum(2000, variances, seed=1)

    def make(rank: int) -> VectorQuantizer:
        return VectorQuantizer(rank, 64, iterations=10)

    errors = []
    for rank in range(1, 9):
        quantizer = LowRankQuantizer(8, make(rank))
        quantizer.fit(x)
        decoded = quantizer.decode(quantizer.encode(unseen))
        errors.append((decoded - unseen).square().sum(1).mean().item())
    chosen = LowRankQuantizer.for_data(x, make, bits=6.0)
    assert chosen.quantizer.dim == 3
    assert errors[2] < 1.03 * min(errors)
    assert errors[0] > 1.5 * errors[2]


def test_what_the_projection_cuts_off_is_the_truncated_variance() -> None:
    """With codes to spare the error is the sum of the variances beyond the rank."""
    variances = torch.tensor([4.0, 1.0, 0.5, 0.25])
    x = spectrum(4000, variances)
    quantizer = LowRankQuantizer(4, VectorQuantizer(1, 256))
    quantizer.fit(x)
    error = (quantizer.decode(quantizer.encode(x)) - x).square().sum(1).mean().item()
    assert error == pytest.approx(1.75, rel=0.05)


def test_the_projection_is_learned_end_to_end() -> None:
    """Descent on the error from a poor start turns the projection to where the variance is."""
    variances = torch.tensor([0.01, 0.01, 4.0, 4.0])
    x = torch.randn(512, 4, generator=torch.Generator().manual_seed(0)) * variances.sqrt()
    quantizer = LowRankQuantizer(4, VectorQuantizer(2, 32, decay=0.9))
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=2e-2)
    for _ in range(200):
        optimizer.zero_grad()
        (quantizer(x).values - x).square().mean().backward()
        optimizer.step()
    quantizer.eval()
    assert (quantizer(x).values - x).square().mean() < 0.4


def test_a_rank_above_the_dimension_is_refused() -> None:
    """The inner quantizer may not be longer."""
    with pytest.raises(ValueError, match=r"`quantizer\.dim` must be at most 3, got 4"):
        LowRankQuantizer(3, VectorQuantizer(4, 8))
