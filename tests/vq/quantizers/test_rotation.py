"""The rotation trick: exact forward, and backward by the stated matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vq.quantizers import VectorQuantizer, rotate


def pairs(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two float64 vectors for each element of the batch."""
    generator = torch.Generator().manual_seed(seed)
    e, q = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return e.requires_grad_(), q


def stated_matrix(e: Tensor, q: Tensor) -> Tensor:
    """(|q|/|e|) (I - 2 w w^T + 2 q̂ ê^T), densely, for one pair."""
    e_unit, q_unit = e / e.norm(), q / q.norm()
    w = (e_unit + q_unit) / (e_unit + q_unit).norm()
    rotation = torch.eye(len(e), dtype=e.dtype) - 2 * torch.outer(w, w)
    return q.norm() / e.norm() * (rotation + 2 * torch.outer(q_unit, e_unit))


@pytest.mark.parametrize("dim", [2, 3, 45])
def test_backward_is_the_transpose_of_the_rotation_that_takes_e_to_q(dim: int) -> None:
    """The forward is q to the bit; the Jacobian is the dense matrix, which maps e to q."""
    e, q = pairs(dim)
    matrix = stated_matrix(e.detach(), q)
    scaled = matrix * e.detach().norm() / q.norm()
    torch.testing.assert_close(scaled @ scaled.T, torch.eye(dim, dtype=q.dtype))
    assert torch.det(scaled) == pytest.approx(1)
    torch.testing.assert_close(matrix @ e.detach(), q)
    assert torch.equal(rotate(e, q), q)
    jacobian = torch.autograd.functional.jacobian(lambda x: rotate(x, q), e.detach())
    torch.testing.assert_close(jacobian, matrix)


@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (0,)])
def test_each_row_has_its_own_rotation(batch: tuple[int, ...]) -> None:
    """A batch is its rows, one by one."""
    e, q = pairs(*batch, 5)
    upstream = torch.randn(*batch, 5, dtype=q.dtype, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(rotate(e, q), e, upstream)
    rows = zip(e.detach().reshape(-1, 5), q.reshape(-1, 5), upstream.reshape(-1, 5), strict=True)
    expected = [stated_matrix(a, b).T @ g for a, b, g in rows]
    assert len(expected) == e.shape[:-1].numel()
    if expected:
        torch.testing.assert_close(gradient.reshape(-1, 5), torch.stack(expected))


@pytest.mark.parametrize(
    ("e", "q"),
    [
        ([1.0, 2.0], [-1.0, -2.0]),
        ([0.0, 0.0], [1.0, 1.0]),
        ([1.0, 1.0], [0.0, 0.0]),
        ([0.0, 0.0], [0.0, 0.0]),
        ([2.0], [-3.0]),
        ([1e-30, 0.0], [1.0, 0.0]),
    ],
)
def test_undefined_rotations_pass_the_gradient_unchanged(e: list[float], q: list[float]) -> None:
    """Opposite and vanishing vectors, and a sign change in one dimension."""
    x = torch.tensor(e, requires_grad=True)
    upstream = torch.arange(1.0, 1 + len(e))
    (gradient,) = torch.autograd.grad(rotate(x, torch.tensor(q)), x, upstream)
    assert torch.equal(gradient, upstream)


def test_in_one_dimension_the_gradient_is_the_ratio_of_magnitudes() -> None:
    """d = 1 with equal signs: R = 1."""
    x = torch.tensor([2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(rotate(x, torch.tensor([3.0])), x, torch.ones(1))
    assert gradient.item() == pytest.approx(1.5)


def test_nearly_opposite_vectors_stay_bounded() -> None:
    """Close to the singularity the gradient keeps the length |q|/|e| of the upstream one."""
    e = torch.tensor([1.0, 1e-4], requires_grad=True)
    upstream = torch.tensor([0.6, 0.8])
    (gradient,) = torch.autograd.grad(rotate(e, torch.tensor([-2.0, 0.0])), e, upstream)
    assert gradient.norm().item() == pytest.approx(2, rel=1e-2)


def test_the_quantizer_uses_it() -> None:
    """VectorQuantizer with the option gives the values of the plain one and this gradient."""
    plain, turned = VectorQuantizer(4, 8).eval(), VectorQuantizer(4, 8, rotation_trick=True).eval()
    e, _ = pairs(10, 4)
    x = e.detach().float().requires_grad_()
    values = turned(x).values
    assert torch.equal(values, plain(x).values)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    expected = [
        stated_matrix(a, b).T @ torch.ones(4) for a, b in zip(x.detach(), values, strict=True)
    ]
    torch.testing.assert_close(gradient, torch.stack(expected).detach(), rtol=1e-4, atol=1e-5)
