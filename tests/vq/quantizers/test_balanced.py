"""Balanced assignment: even use of the codes, and optimal transport as a twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vq.quantizers import BalancedQuantizer, VectorQuantizer, sinkhorn_assignment


def skewed(count: int, *, seed: int = 0) -> Tensor:
    """Log-normal vectors: dense near the origin, thin far out."""
    generator = torch.Generator().manual_seed(seed)
    return torch.exp(0.6 * torch.randn(count, 4, generator=generator))


def entropy(indices: Tensor, size: int) -> float:
    """Entropy of the indices as a share of log2 K."""
    share = torch.bincount(indices.flatten(), minlength=size) / indices.numel()
    return float(torch.special.entr(share).sum()) / math.log(size)


def test_assignment_reaches_the_entropy_of_even_use_where_argmin_does_not() -> None:
    """At least 99 % of log2 K from the same costs, on skewed data."""
    x, codes = skewed(2048), 1 + skewed(64, seed=1)
    costs = torch.cdist(x, codes).square()
    assert entropy(sinkhorn_assignment(costs), 64) >= 0.99
    assert entropy(costs.argmin(1), 64) < 0.9


def test_training_is_balanced_and_so_are_the_codes_that_it_leaves() -> None:
    """The quantizer's own batches reach 99 %; plain training on the same data does not."""
    balanced, plain = BalancedQuantizer(4, 32), VectorQuantizer(4, 32)
    for step in range(10):
        balanced(skewed(1024, seed=step))
        plain(skewed(1024, seed=step))
    used, plain_used = (quantizer(skewed(1024, seed=10)).indices for quantizer in (balanced, plain))
    assert entropy(used, 32) >= 0.99
    assert entropy(plain_used, 32) < 0.97
    assert entropy(balanced.encode_balanced(skewed(1024, seed=50)), 32) >= 0.99
    assert balanced.perplexity.item() > 0.97 * 32


def test_fit_balances_too() -> None:
    """Codes fitted under the constraint are used more evenly by plain argmin as well."""
    x = skewed(4096)
    balanced, plain = BalancedQuantizer(4, 32, iterations=8), VectorQuantizer(4, 32)
    balanced.fit(x)
    plain.fit(x)
    assert entropy(balanced.encode(x), 32) > entropy(plain.encode(x), 32) + 0.02


def test_cost_is_near_that_of_the_optimal_transport() -> None:
    """Against the exact assignment with n/K places per code."""
    x, codes = skewed(128), skewed(8, seed=1)
    costs = torch.cdist(x, codes).square()
    _, places = linear_sum_assignment(np.repeat(costs.numpy(), 16, axis=1))
    optimal = costs.numpy()[np.arange(128), places // 16].sum()
    found = costs.gather(1, sinkhorn_assignment(costs)[:, None]).sum().item()
    assert found == pytest.approx(optimal, rel=0.02)


def test_constants_are_those_of_the_paper() -> None:
    """ε = 0.003 and 100 iterations, and shifting or scaling the costs changes nothing."""
    x, codes = skewed(256), skewed(16, seed=1)
    costs = torch.cdist(x, codes).square()
    plain = sinkhorn_assignment(costs)
    assert torch.equal(plain, sinkhorn_assignment(costs, epsilon=0.003, iterations=100))
    assert (plain == sinkhorn_assignment(1000 * costs + 50)).float().mean() > 0.99
    assert sinkhorn_assignment(costs[:0]).shape == (0,)
    assert sinkhorn_assignment(torch.ones(4, 4)).tolist() == [0, 0, 0, 0]
