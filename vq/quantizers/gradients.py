"""Functions whose gradient is not the derivative of their value."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def straight_through(
    x: Float[Tensor, "*shape"], q: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """`q` exactly; the gradient goes to `x` unchanged, and none to `q`.

    Unlike x + (q - x).detach() it does not round, so that decoded indices give the same bits.
    """
    return _StraightThrough.apply(x, q)  # pyright: ignore[reportReturnType]


def reverse_gradient(x: Float[Tensor, "*shape"], strength: float = 1.0) -> Float[Tensor, "*shape"]:
    """`x`; the gradient is multiplied by -`strength`.

    Placed in front of a predictor of attribute B on the codes of attribute A, it trains A's
    encoder to leave B out (FACodec; Ganin and Lempitsky, ICML 2015).
    """
    return _ReverseGradient.apply(x, strength)  # pyright: ignore[reportReturnType]


def lower_bound(x: Float[Tensor, "*shape"], bound: float) -> Float[Tensor, "*shape"]:
    """max(x, bound); below the bound only gradients that raise `x` under descent pass.

    A clamp would leave a parameter that slipped below the bound without any gradient.
    """
    return _LowerBound.apply(x, bound)  # pyright: ignore[reportReturnType]


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, q: Tensor) -> Tensor:
        return q.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * grads[0], None


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x >= bound)
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return torch.where(inside | (grads[0] < 0), grads[0], 0.0), None
