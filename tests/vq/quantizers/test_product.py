"""Product quantization: the rotation's worth, and faiss as a twin."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vq.quantizers import ProductQuantizer
from vq.quantizers.product import balanced_axes


def factors(count: int, *, seed: int = 0) -> Tensor:
    """Twelve dimensions that four heavy-tailed factors drive."""
    mixing = torch.randn(4, 12, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=generator) ** 3 @ mixing + 0.05 * torch.randn(
        count, 12, generator=generator
    )


def snr(quantizer: ProductQuantizer, x: Tensor) -> float:
    """Signal to noise ratio of a round trip, in dB."""
    error = quantizer.decode(quantizer.encode(x)) - x
    return 10 * math.log10(float((x - x.mean(0)).square().sum() / error.square().sum()))


def test_rotation_is_worth_several_decibels_on_correlated_data() -> None:
    """Optimized product quantization against plain, held out; R stays orthogonal."""
    plain = ProductQuantizer(12, 4, 32, iterations=8)
    turned = ProductQuantizer(12, 4, 32, rotate=True, rounds=5, iterations=8)
    for quantizer in (plain, turned):
        quantizer.fit(factors(4000))
        quantizer.eval()
    unseen = factors(2000, seed=1)
    assert snr(turned, unseen) > snr(plain, unseen) + 3
    identity = turned.rotation @ turned.rotation.T
    torch.testing.assert_close(identity, torch.eye(12), atol=1e-5, rtol=0)
    assert torch.equal(plain.rotation, torch.eye(12))


def test_slices_agree_with_faiss() -> None:
    """The same error as faiss' ProductQuantizer within two percent."""
    faiss = pytest.importorskip("faiss", reason="the twin needs faiss-cpu")
    x = factors(4000)
    quantizer = ProductQuantizer(12, 3, 16)
    quantizer.fit(x)
    twin = faiss.ProductQuantizer(12, 3, 4)
    twin.train(x.numpy())
    found = torch.from_numpy(twin.decode(twin.compute_codes(x.numpy())))
    error = (quantizer.decode(quantizer.encode(x)) - x).square().mean().item()
    assert error < 1.05 * (found - x).square().mean().item()


def test_axes_are_dealt_evenly() -> None:
    """Variances 8, 4, 2, 1 for two slices of two: 8 with 1 and 4 with 2."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 4, generator=generator) * torch.tensor([1.0, 8.0, 2.0, 4.0]).sqrt()
    axes = balanced_axes(x, torch.ones(len(x)), [2, 2]).abs().round()
    assert axes.argmax(1).tolist() == [1, 0, 3, 2]


def test_slices_need_not_be_equal() -> None:
    """Seven dimensions in three slices."""
    quantizer = ProductQuantizer(7, 3, 4)
    assert [part.dim for part in quantizer.slices.each_part()] == [3, 2, 2]
    with pytest.raises(ValueError, match="`num_groups` must be 1 to 7, got 8"):
        ProductQuantizer(7, 8, 4)
