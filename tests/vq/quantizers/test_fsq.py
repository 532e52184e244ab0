"""Finite scalar quantization: every level is reachable and used, also from half precision."""

from __future__ import annotations

import math

import pytest
import torch

from vq.quantizers import FiniteScalarQuantizer
from vq.quantizers.fsq import LEVELS, bound


@pytest.mark.parametrize("levels", range(3, 10))
def test_a_dimension_has_exactly_its_levels(levels: int) -> None:
    """Sweeping the input visits 0..L-1 in order; 0 maps to code 0."""
    quantizer = FiniteScalarQuantizer([levels]).eval()
    made = quantizer(torch.linspace(-20, 20, 4001)[:, None])
    assert made.indices.unique().tolist() == list(range(levels))
    assert (made.indices.diff(dim=0) >= 0).all()
    assert quantizer(torch.zeros(1, 1)).values.item() == 0
    assert made.values.abs().max() == 1


@pytest.mark.parametrize("bits", LEVELS)
def test_presets_have_about_their_number_of_codes(bits: int) -> None:
    """Within 10 % of 2^bits, as in the paper's table."""
    assert math.prod(LEVELS[bits]) == pytest.approx(2**bits, rel=0.1)


def test_the_bound_is_smooth_with_the_stated_gradient() -> None:
    """gradcheck of the bound; the quantizer's gradient is the bound's over ⌊L/2⌋."""
    levels = torch.tensor([8, 5, 4])
    z = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: bound(x, levels), z.requires_grad_())
    x = z.detach().float().requires_grad_()
    (found,) = torch.autograd.grad(FiniteScalarQuantizer([8, 5, 4])(x).values.sum(), x)
    (expected,) = torch.autograd.grad((bound(z, levels) / (levels // 2)).sum(), z)
    torch.testing.assert_close(found, expected.float())


def test_half_precision_uses_as_many_codes_as_single() -> None:
    """[8, 5, 5, 5] of bfloat16 activations under autocast: no combination is lost to rounding."""
    quantizer = FiniteScalarQuantizer(LEVELS[10]).eval()
    x = 1.5 * torch.randn(60_000, 4, generator=torch.Generator().manual_seed(0))
    strides = torch.tensor([125, 25, 5, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        used = (quantizer.encode(x.bfloat16()) * strides).sum(1).unique().numel()
    assert used >= 0.99 * math.prod(LEVELS[10])


def test_fit_places_the_levels_on_the_data() -> None:
    """Center and scale follow a shift and a scaling of the data."""
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    plain, moved = FiniteScalarQuantizer([7, 7]), FiniteScalarQuantizer([7, 7])
    plain.fit(x)
    moved.fit(100 * x + 7)
    torch.testing.assert_close(moved.scale, 100 * plain.scale, rtol=1e-3, atol=0)
    torch.testing.assert_close(moved.center, 100 * plain.center + 7, rtol=1e-3, atol=1e-3)
    values = plain.decode(plain.encode(x))
    assert (values - x).square().mean() < 0.08


def test_two_levels_are_refused() -> None:
    """Binary codes have their own quantizer."""
    with pytest.raises(ValueError, match="LookupFreeQuantizer"):
        FiniteScalarQuantizer([5, 2])
