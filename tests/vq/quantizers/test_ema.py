"""VectorQuantizer: the stated averages, revival, and the commitment loss."""

from __future__ import annotations

import pytest
import torch

from vq.quantizers import VectorQuantizer


def test_codes_follow_the_stated_averages() -> None:
    """n_k, m_k and c_k = m_k / ñ_k over three batches, written out."""
    quantizer = VectorQuantizer(2, 3, decay=0.9, smoothing=0.3, revive_below=0.0)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [5.0, 5.0], [99.0, 99.0]]))
    n, m = torch.zeros(3), torch.zeros(3, 2)
    generator = torch.Generator().manual_seed(0)
    for step in range(3):
        x = torch.randn(20, 2, generator=generator) + 5 * (torch.arange(20) % 2)[:, None]
        codes = quantizer.codebook.clone()
        indices = quantizer(x).indices[:, 0]
        one_hot = torch.nn.functional.one_hot(indices, 3).float()
        weight = 0.1 if step else 1.0
        n = (1 - weight) * n + weight * one_hot.mean(0)
        m = (1 - weight) * m + weight * one_hot.T @ x / 20
        smooth = (n + 0.1) / (n.sum() + 0.3) * n.sum()
        expected = torch.where(n[:, None] > 0.1, m / smooth[:, None], codes)
        torch.testing.assert_close(quantizer.codebook, expected)
    assert torch.equal(quantizer.codebook[2], torch.tensor([99.0, 99.0]))


def test_fitted_codes_are_sorted_by_use() -> None:
    """The most used code comes first, which makes frequency tables cheap."""
    x = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0)) ** 3
    quantizer = VectorQuantizer(2, 40, iterations=50)
    quantizer.fit(x)
    assert quantizer.counts[:5].min() > quantizer.counts[-5:].max()


def test_dead_codes_come_back_to_life() -> None:
    """With revival all codes are in use after a few batches; without, most never are."""
    x = 10 + torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
    used = []
    for revive_below in (0.03, 0.0):
        quantizer = VectorQuantizer(4, 64, revive_below=revive_below)
        for batch in x.split(200):
            quantizer(batch)
        used.append(quantizer.encode(x).unique().numel() / 64)
    assert used[0] == 1.0 and used[1] < 0.2


def test_training_converges_to_the_means_of_the_clusters() -> None:
    """Well separated clusters: each code ends at a mean, whatever the seed."""
    generator = torch.Generator().manual_seed(0)
    centers = 20 * torch.randn(8, 3, generator=generator)
    quantizer = VectorQuantizer(3, 16, decay=0.9, seed=1)
    for _ in range(60):
        picked = torch.randint(8, (256,), generator=generator)
        quantizer(centers[picked] + 0.1 * torch.randn(256, 3, generator=generator))
    quantizer.eval()
    assert (quantizer(centers).values - centers).abs().max() < 0.3


def test_the_loss_is_the_commitment_and_pulls_the_input_to_its_code() -> None:
    """β mean((x - q)²), with the gradient towards x only."""
    quantizer = VectorQuantizer(3, 8, commitment=0.5).eval()
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    made = quantizer(x)
    residual = (x - made.values).detach()
    assert made.loss.item() == pytest.approx(0.5 * residual.square().mean().item())
    (gradient,) = torch.autograd.grad(made.loss, x)
    torch.testing.assert_close(gradient, residual / 30)


def test_usage_and_perplexity_of_a_known_stream() -> None:
    """Half of four codes used evenly: usage 1/2, perplexity 2, one bit each."""
    quantizer = VectorQuantizer(1, 4, revive_below=0.0)
    quantizer.codebook.copy_(torch.tensor([[0.0], [1.0], [50.0], [60.0]]))
    made = quantizer(torch.tensor([[0.0], [1.0]] * 500))
    assert quantizer.usage.item() == 0.5
    assert quantizer.perplexity.item() == pytest.approx(2)
    assert made.bits.item() == pytest.approx(1000, rel=0.01)
