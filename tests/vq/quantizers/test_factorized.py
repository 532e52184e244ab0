"""Factorized quantization: lookup by direction, values with their norm, attributes apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vq.quantizers import AttributeGroup, FactorizedQuantizer, attribute_factored, reverse_gradient


def data(count: int, *, dim: int = 12, seed: int = 0) -> Tensor:
    """Vectors near a four-dimensional subspace."""
    mixing = torch.randn(4, dim, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=generator) @ mixing + 0.5


def test_lookup_is_by_direction_and_returns_the_row_as_it_is() -> None:
    """The cosine decides; the value is out_proj of the table's row, whose norm is information."""
    quantizer, x = FactorizedQuantizer(12, 40, code_dim=4).eval(), data(100)
    with torch.no_grad():
        quantizer.codes.mul_(torch.linspace(0.1, 10, 40)[:, None])
    low = quantizer.in_proj(x)
    cosine = normalize(low, dim=1) @ normalize(quantizer.codes, dim=1).T
    made = quantizer(x)
    assert torch.equal(made.indices[:, 0], cosine.argmax(1))
    rows = quantizer.codes[made.indices[:, 0]]
    torch.testing.assert_close(made.values, quantizer.out_proj(rows))
    wrong = quantizer.out_proj(normalize(rows, dim=1))
    assert (made.values - wrong).abs().max() > 0.5


def test_scaling_the_codes_changes_values_but_no_index() -> None:
    """Norms live in the table alone."""
    quantizer, x = FactorizedQuantizer(12, 40).eval(), data(100)
    indices = quantizer.encode(x)
    norm = quantizer.codes.norm(dim=1, keepdim=True).detach()
    with torch.no_grad():
        quantizer.codes.mul_(torch.rand(40, 1, generator=torch.Generator().manual_seed(0)) + 0.1)
    assert torch.equal(quantizer.encode(x), indices)
    assert not torch.equal(quantizer.codes.norm(dim=1, keepdim=True), norm)


def test_commitment_is_between_unnormalized_vectors_of_the_low_dimension() -> None:
    """Loss and its gradients, written out."""
    quantizer, x = FactorizedQuantizer(12, 40, commitment=0.25).eval(), data(50)
    low = quantizer.in_proj(x)
    codes = quantizer.codes[quantizer.encode(x)[:, 0]]
    made = quantizer(x)
    assert made.loss.item() == pytest.approx(1.25 * (low - codes).square().mean().item(), rel=1e-5)
    (to_codes,) = torch.autograd.grad(made.loss, quantizer.codes)
    expected = torch.zeros_like(to_codes)
    pull = (2 * (codes - low) / codes.numel()).detach()
    expected.index_add_(0, made.indices[:, 0], pull)
    torch.testing.assert_close(to_codes, expected)


def test_the_gradient_passes_both_projections() -> None:
    """Towards x it is out_proj after in_proj; both projections learn."""
    quantizer, x = FactorizedQuantizer(12, 40), data(5).requires_grad_()
    upstream = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    made = quantizer(x)
    (gradient,) = torch.autograd.grad(made.values, x, upstream, retain_graph=True)
    expected = upstream @ quantizer.out_proj.weight @ quantizer.in_proj.weight
    torch.testing.assert_close(gradient, expected)
    made.values.sum().backward()
    assert all(p.grad is not None for p in quantizer.in_proj.parameters())
    assert all(p.grad is not None for p in quantizer.out_proj.parameters())


def test_fit_keeps_the_principal_directions() -> None:
    """Four dimensions hold all of this data: the projections lose nothing before the codes do."""
    quantizer, x = FactorizedQuantizer(12, 64, code_dim=4), data(2000)
    quantizer.fit(x)
    torch.testing.assert_close(quantizer.out_proj(quantizer.in_proj(x)), x, atol=1e-4, rtol=1e-4)


def test_attributes_do_not_share_anything() -> None:
    """Changing one attribute's channels changes its own columns only; any prefix decodes."""
    groups = [AttributeGroup(3, 1, 16, 3), AttributeGroup(9, 3, 16, 4)]
    quantizer = attribute_factored(groups, dropout=0.0).eval()
    x = data(300)
    quantizer.fit(x)
    assert quantizer.num_codes == (16, 16, 16, 16)
    indices = quantizer.encode(x)
    changed = x.clone()
    changed[:, :3] += 5
    again = quantizer.encode(changed)
    assert torch.equal(again[:, 1:], indices[:, 1:])
    assert not torch.equal(again[:, 0], indices[:, 0])
    prefix = quantizer.decode(indices[:, :2])
    whole = quantizer.decode(indices)
    assert torch.equal(prefix[:, :3], whole[:, :3])
    assert not torch.equal(prefix[:, 3:], whole[:, 3:])


def test_reversed_gradient() -> None:
    """The value passes; the gradient turns round."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(reverse_gradient(x, 0.5).square().sum(), x)
    assert torch.equal(gradient, torch.tensor([-1.0, -2.0]))
