"""Residual stages: prefixes, dropout, beam search, and faiss as a twin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from vq.quantizers import (
    GroupedQuantizer,
    LookupFreeQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)


def stages(count: int, *, dim: int = 6, size: int = 16) -> list[VectorQuantizer]:
    """Plain stages with seeds of their own."""
    return [VectorQuantizer(dim, size, iterations=8, seed=seed) for seed in range(count)]


def data(count: int, *, seed: int = 0, dim: int = 6) -> Tensor:
    """Correlated vectors."""
    mixing = torch.randn(dim, dim, generator=torch.Generator().manual_seed(9))
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) @ mixing


def test_each_stage_quantizes_what_is_left() -> None:
    """Column i is the nearest code of stage i to the running residual, written out."""
    quantizer, x = ResidualQuantizer(stages(3)), data(200)
    quantizer.fit(data(1000))
    quantizer.eval()
    residual = x
    for stage, column in zip(quantizer.each_part(), quantizer.encode(x).T, strict=True):
        codebook = stage.codebook
        assert isinstance(codebook, Tensor)
        assert torch.equal(column, torch.cdist(residual, codebook).argmin(1))
        residual = residual - codebook[column]
    torch.testing.assert_close(x - quantizer(x).values, residual)


def test_prefixes_are_monotone_and_nested() -> None:
    """Every further stage lowers the error of held-out data; a prefix decodes like a prefix."""
    quantizer = ResidualQuantizer(stages(5))
    quantizer.fit(data(4000))
    quantizer.eval()
    x = data(1000, seed=1)
    indices = quantizer.encode(x)
    values = [quantizer.decode(indices[:, :count]) for count in range(6)]
    errors = [(value - x).square().mean().item() for value in values]
    assert all(later < 0.9 * earlier for earlier, later in itertools.pairwise(errors))
    assert not values[0].any()
    first = ResidualQuantizer(list(quantizer.each_part())[:2]).eval()
    assert torch.equal(first(x).values, values[2])


def test_dropout_keeps_the_stated_stages() -> None:
    """Half of the rows keep 1..4 stages evenly: each row equals the prefix it kept."""
    parts = stages(4)
    quantizer = ResidualQuantizer(parts, dropout=0.5)
    quantizer.fit(data(1000))
    x = data(4000, seed=1)
    before = [stage.codebook.clone() for stage in parts]
    made = quantizer(x)
    kept = torch.zeros(len(x), dtype=torch.int64)
    total = torch.zeros_like(x)
    for place, codebook in enumerate(before):
        total = total + codebook[made.indices[:, place]]
        kept[(made.values == total).all(1)] = place + 1
    assert (kept > 0).all()
    shares = torch.bincount(kept, minlength=5)[1:] / len(x)
    assert torch.allclose(shares, torch.tensor([0.125, 0.125, 0.125, 0.625]), atol=0.02)
    again = ResidualQuantizer(stages(4), dropout=0.5).fit(data(1000))(x)
    assert torch.equal(again.values, made.values)
    assert torch.equal(quantizer.eval()(x).values, quantizer.decode(quantizer.encode(x)))


def test_beam_search_lowers_the_error_and_a_full_beam_is_exhaustive() -> None:
    """Wider is better on average; a beam over all sums finds the best sum for every vector."""
    parts = stages(2, size=8)
    greedy = ResidualQuantizer(parts)
    greedy.fit(data(2000))
    x = data(500, seed=1)
    errors = []
    for beam in (1, 3, 8):
        quantizer = ResidualQuantizer(parts, beam=beam).eval()
        errors.append((quantizer.decode(quantizer.encode(x)) - x).square().sum(1))
    assert errors[2].mean() < errors[1].mean() < errors[0].mean()
    assert (errors[2] <= errors[0] + 1e-5).all()
    sums = (parts[0].codebook[:, None] + parts[1].codebook).reshape(-1, 6)
    best = torch.cdist(x, sums).square().min(1).values
    torch.testing.assert_close(errors[2], best, rtol=1e-4, atol=1e-4)


def test_beam_search_agrees_with_faiss() -> None:
    """The same codebooks in faiss' ResidualQuantizer give the same error at the same beam."""
    faiss = pytest.importorskip("faiss", reason="the twin needs faiss-cpu")
    parts = stages(3, size=16)
    quantizer = ResidualQuantizer(parts, beam=5)
    quantizer.fit(data(2000))
    quantizer.eval()
    x = data(500, seed=1)
    twin = faiss.ResidualQuantizer(6, 3, 4)
    twin.max_beam_size = 5
    twin.is_trained = True
    codebooks = torch.cat([part.codebook for part in parts]).numpy()
    faiss.copy_array_to_vector(codebooks.ravel(), twin.codebooks)
    twin.compute_codebook_tables()
    found = twin.decode(twin.compute_codes(x.numpy()))
    error = np.square(found - x.numpy()).mean()
    ours = (quantizer.decode(quantizer.encode(x)) - x).square().mean().item()
    assert ours == pytest.approx(error, rel=1e-3)


def test_gradient_is_the_identity_through_all_stages() -> None:
    """Straight-through stages together pass the gradient once, not once per stage."""
    quantizer = ResidualQuantizer(stages(4))
    x = data(20).requires_grad_()
    (gradient,) = torch.autograd.grad(quantizer(x).values.sum(), x)
    torch.testing.assert_close(gradient, torch.ones_like(x))


def test_wrong_stages_are_named() -> None:
    """Dimensions must agree; a beam needs codebooks."""
    with pytest.raises(ValueError, match="`stages` must hold quantizers of one `dim`"):
        ResidualQuantizer([VectorQuantizer(2, 4), VectorQuantizer(3, 4)])
    with pytest.raises(ValueError, match="`beam` must be 1"):
        ResidualQuantizer([LookupFreeQuantizer(3)], beam=2)
    with pytest.raises(ValueError, match="`dropout` must be in"):
        ResidualQuantizer(stages(2), dropout=2.0)


def test_groups_put_the_first_stages_first() -> None:
    """Leading columns hold stage 1 of every group, then stage 2 of every group that has one."""
    groups = [ResidualQuantizer(stages(count, dim=2)) for count in (3, 1, 2)]
    quantizer = GroupedQuantizer(groups)
    assert quantizer.columns == ((0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2))
    quantizer.fit(data(1000))
    quantizer.eval()
    x = data(300, seed=1)
    indices = quantizer.encode(x)
    for group, channels, columns in zip(
        groups, x.split(2, dim=1), ([0, 3, 5], [1], [2, 4]), strict=True
    ):
        assert torch.equal(indices[:, columns], group.encode(channels))
    three = quantizer.decode(indices[:, :3])
    expected = [group.decode(indices[:, [place]]) for place, group in enumerate(groups)]
    assert torch.equal(three, torch.cat(expected, dim=1))
