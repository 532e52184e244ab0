"""Gumbel quantization: samples, temperature, random drop, tables, and levels over images."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vq.quantizers import GumbelQuantizer, MultiScaleQuantizer, code_lengths, lower_bound


def data(count: int, *, dim: int = 4, seed: int = 0) -> Tensor:
    """Independent normal vectors."""
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def test_training_samples_follow_the_softmax_of_the_logits() -> None:
    """Frequencies of one vector's samples against softmax(-|x-c|²/√K · temperature)."""
    quantizer = GumbelQuantizer(4, 8, random_drop=False)
    with torch.no_grad():
        quantizer.temperature.fill_(2.5)
    x = data(1)
    logits = -(x - quantizer.codebooks[0]).square().sum(1) / math.sqrt(8) * 2.5
    indices = quantizer(x.expand(40_000, 4)).indices
    frequency = torch.bincount(indices[:, 0], minlength=8) / 40_000
    torch.testing.assert_close(frequency, logits.softmax(0).detach(), atol=0.01, rtol=0)


def test_the_value_is_the_code_and_the_gradient_the_softmax_s() -> None:
    """Forward: a row of the codebook exactly. Backward: the derivative of soft @ codebook."""
    quantizer = GumbelQuantizer(4, 8, num_groups=2, random_drop=False)
    x = data(6).requires_grad_()
    made = quantizer(x)
    assert torch.equal(made.values, quantizer.decode(made.indices))
    made.values.sum().backward()
    assert x.grad is not None and x.grad.abs().min() > 0
    assert quantizer.temperature.grad is not None and quantizer.temperature.grad.all()
    assert quantizer.codebooks.grad is not None


def test_samples_differ_between_batches_and_repeat_between_runs() -> None:
    """Randomness is addressed by seed and step."""
    first, second = (GumbelQuantizer(4, 32) for _ in range(2))
    x = data(100)
    one, two = first(x).indices, first(x).indices
    assert not torch.equal(one, two)
    assert torch.equal(one, second(x).indices) and torch.equal(two, second(x).indices)


def test_temperature_has_a_lower_bound_that_it_can_leave() -> None:
    """Below the bound the value stays at it and only upward gradients pass."""
    x = torch.tensor([-1.0, -1.0, 2.0], requires_grad=True)
    bounded = lower_bound(x, 0.5)
    assert torch.equal(bounded, torch.tensor([0.5, 0.5, 2.0]))
    (gradient,) = torch.autograd.grad(bounded, x, torch.tensor([1.0, -1.0, 1.0]))
    assert torch.equal(gradient, torch.tensor([0.0, -1.0, 1.0]))


def test_frequent_codes_are_left_out_by_the_stated_rule() -> None:
    """P(U^(b - (b-1) usage²) < f) = f^(1/(b - (b-1) usage²)), code by code."""
    quantizer = GumbelQuantizer(4, 16)
    quantizer.counts.copy_(torch.tensor([800.0, 150.0, 50.0] + [0.0] * 13))
    generator = torch.Generator().manual_seed(0)
    dropped = quantizer._left_out(torch.Size([1, 20_000, 16]), generator)[0].float().mean(0)
    exponent = 4 - 3 * (3 / 16) ** 2
    expected = (quantizer.counts / 1000) ** (1 / exponent)
    torch.testing.assert_close(dropped, expected, atol=0.015, rtol=0)


def test_random_drop_spreads_the_use() -> None:
    """From a collapsed start the drop brings more codes into use."""
    used = []
    for random_drop in (True, False):
        quantizer = GumbelQuantizer(4, 64, random_drop=random_drop)
        with torch.no_grad():
            quantizer.codebooks[0, 1:] += 30
        for step in range(10):
            quantizer(data(200, seed=step))
        used.append(int((quantizer.histogram > 0).sum()))
    assert used[0] > 10 * used[1] == 10


def test_tables_are_the_exact_frequencies() -> None:
    """Integers, counted over everything since the reset, at least 1."""
    quantizer = GumbelQuantizer(6, 8, num_groups=2).eval()
    quantizer.fit(data(500, dim=6))
    quantizer.reset_tables()
    batches = [quantizer.encode(data(100, dim=6, seed=seed)) for seed in range(3)]
    for batch in batches:
        quantizer.tally(batch)
    together = torch.cat(batches)
    for group, table in enumerate(quantizer.tables()):
        assert table.dtype == torch.int64
        expected = torch.bincount(together[:, group], minlength=8)
        assert torch.equal(table, expected.clamp(min=1))


def test_unused_codes_move_beside_the_most_used() -> None:
    """Dead codes take the popular ones' places, most used first; nobody else moves."""
    quantizer = GumbelQuantizer(2, 6)
    before = quantizer.codebooks.detach().clone()[0]
    quantizer.histogram.copy_(torch.tensor([[0, 5, 100, 0, 7, 0]]))
    assert quantizer.reassign() == 3
    after = quantizer.codebooks.detach()[0]
    assert torch.equal(after[[1, 2, 4]], before[[1, 2, 4]])
    torch.testing.assert_close(after[[0, 3, 5]], before[[2, 4, 1]], atol=0.02, rtol=0)
    assert not torch.equal(after[0], before[2])
    assert GumbelQuantizer(2, 6).reassign() == 0


def test_bits_are_those_of_the_sample_and_differentiable() -> None:
    """Value: the ideal length of the drawn indices. Descent on it makes them cheaper."""
    quantizer = GumbelQuantizer(4, 8, decay=0.0)
    x = data(300).requires_grad_()
    made = quantizer(x)
    lengths = code_lengths(quantizer.counts)
    assert made.bits.item() == pytest.approx(lengths[made.indices[:, 0]].sum().item(), rel=1e-5)
    made.bits.backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_training_lowers_the_error() -> None:
    """Descent on the error alone learns codes and temperature."""
    quantizer = GumbelQuantizer(4, 32, num_groups=2)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=3e-2)
    unseen = data(500, seed=99)

    def error() -> float:
        return (quantizer.decode(quantizer.encode(unseen)) - unseen).square().mean().item()

    start = error()
    for step in range(150):
        x = data(200, seed=step)
        optimizer.zero_grad()
        (quantizer(x).values - x).square().mean().backward()
        optimizer.step()
    assert error() < 0.4 * start


def scene(count: int, *, seed: int = 0) -> Tensor:
    """Smooth latent images [count, 4, 16, 16]."""
    coarse = torch.randn(count, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=16, mode="bilinear")


def multiscale() -> MultiScaleQuantizer:
    """Three small levels."""
    torch.manual_seed(0)
    return MultiScaleQuantizer(4, num_codes=(32, 16, 8), num_groups=2)


@pytest.mark.parametrize("batch", [(), (0,), (1,), (2, 3)])
def test_levels_halve_and_decode_to_the_forward_values(batch: tuple[int, ...]) -> None:
    """Coarse to fine, and to the bit in evaluation mode."""
    quantizer = multiscale().eval()
    x = scene(6)[: torch.Size(batch).numel()].reshape(*batch, 4, 16, 16)
    made = quantizer(x)
    assert [tuple(level.shape) for level in made.indices] == [
        (*batch, side, side, 2) for side in (2, 4, 8)
    ]
    encoded = quantizer.encode(x)
    assert all(torch.equal(a, b) for a, b in zip(encoded, made.indices, strict=True))
    assert torch.equal(quantizer.decode(encoded), made.values)
    assert made.values.shape == x.shape
    assert [level.num_codes for level in quantizer.levels()] == [(8, 8), (16, 16), (32, 32)]


def test_trained_levels_improve_one_after_the_other() -> None:
    """After a short training each finer level lowers the error of held-out images."""
    quantizer = multiscale()
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=1e-2)
    for step in range(60):
        x = scene(4, seed=step)
        optimizer.zero_grad()
        made = quantizer(x)
        previews = [quantizer.decode(made.indices[:levels]) for levels in (1, 2)]
        loss = (made.values - x).square().mean()
        for preview in previews:
            loss = loss + 0.3 * (preview - x).square().mean()
        loss.backward()
        optimizer.step()
    quantizer.eval()
    x = scene(16, seed=999)
    indices = quantizer.encode(x)
    errors = [
        (quantizer.decode(indices[:levels]) - x).square().mean().item() for levels in (1, 2, 3)
    ]
    assert errors[2] < errors[1] < errors[0] < x.square().mean().item()


def test_images_that_do_not_halve_are_refused() -> None:
    """Sides must be multiples of 2^levels."""
    with pytest.raises(ValueError, match="multiples of 8, got"):
        multiscale()(torch.zeros(1, 4, 12, 16))
    with pytest.raises(ValueError, match="1 to 3 levels, got 0"):
        multiscale().decode(())
