"""Binary quantizers: signs, the sphere's bound, and the entropies against all codes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vq.quantizers import BinarySphericalQuantizer, LookupFreeQuantizer


def data(count: int, dim: int) -> Tensor:
    """Normal vectors."""
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(0))


def test_lookup_free_codes_are_the_signs() -> None:
    """Values ±1, one bit per dimension, set where positive."""
    x = data(50, 5)
    made = LookupFreeQuantizer(5).eval()(x)
    assert torch.equal(made.values, torch.where(x > 0, 1.0, -1.0))
    assert torch.equal(made.indices, (x > 0).long())
    assert made.bits.item() == pytest.approx(250)


@pytest.mark.parametrize("dim", [2, 8, 32])
def test_spherical_codes_are_near_their_vectors(dim: int) -> None:
    """Unit codes within √(2 - 2/√d) of u, the nearest of all corners."""
    x = data(2000, dim)
    values = BinarySphericalQuantizer(dim).eval()(x).values
    torch.testing.assert_close(values.norm(dim=1), torch.ones(2000))
    distance = (normalize(x, dim=1) - values).norm(dim=1)
    assert distance.max() < math.sqrt(2 - 2 / math.sqrt(dim))
    assert (-values - normalize(x, dim=1)).norm(dim=1).min() > distance.max() or dim > 2


@pytest.mark.parametrize("kind", [LookupFreeQuantizer, BinarySphericalQuantizer])
def test_entropies_are_those_over_all_codes(
    kind: type[LookupFreeQuantizer] | type[BinarySphericalQuantizer],
) -> None:
    """One vector: H(p(c|z)) of the 2^d codes by softmax of -τ |z - c|², minus γ times itself."""
    tau, z = 0.7, data(1, 4)
    quantizer = kind(4, inverse_temperature=tau, commitment=0.0, entropy_weight=1.0, diversity=0.0)
    codes = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4))) * quantizer.unit
    compared = quantizer._codable(z)
    p = (-tau * (compared - codes).square().sum(1)).softmax(0)
    expected = torch.special.entr(p).sum().item()
    assert quantizer(z).loss.item() == pytest.approx(expected, rel=1e-4)
    even = kind(4, inverse_temperature=tau, commitment=0.0, entropy_weight=1.0)
    assert even(z).loss.item() == pytest.approx(0, abs=1e-5)


def test_the_entropy_loss_spreads_the_codes() -> None:
    """Vectors that all share their signs split after descent on the loss alone."""
    x = (data(64, 3) * 0.1 + 0.3).requires_grad_()
    quantizer = LookupFreeQuantizer(3, inverse_temperature=2.0, commitment=0.0)
    assert quantizer.encode(x.detach()).float().mean() == 1
    optimizer = torch.optim.Adam([x], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        quantizer(x).loss.backward()
        optimizer.step()
    share = quantizer.encode(x.detach()).float().mean(0)
    assert (share > 0.25).all() and (share < 0.75).all()
