"""The rotation trick: a gradient through a quantizer that knows where in its cell a vector lies."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

SMALLEST_RATIO = 1e-6
"""Below this |e|/|q|, |q|/|e| or |ê + q̂| the rotation is undefined in float32."""


def rotate(e: Float[Tensor, "*batch dim"], q: Float[Tensor, "*batch dim"]) -> Tensor:
    """`q` exactly; the gradient to `e` is that of the rotation and scaling that takes e to q.

    With ê = e/|e|, q̂ = q/|q| and w = (ê + q̂)/|ê + q̂| held constant,

        q = (|q|/|e|) R e,   R = I - 2 w w^T + 2 q̂ ê^T,

    so the backward pass multiplies by (|q|/|e|) R^T: two rank-one updates, no matrix. `q` gets no
    gradient. Where e or q vanishes beside the other, or e is opposite to q, R is undefined and the
    gradient passes unchanged, as in the straight-through estimator.

    For the output of an encoder. Do not use it where the vector itself is the parameter and its
    norm and direction mean different things, for quaternions (e and -e are the same rotation, and
    ê + q̂ may vanish), or for single numbers (a rotation in one dimension is a sign).

    Args:
        e: What was quantized.
        q: Its code.

    Reference: Fifty et al., "Restructuring Vector Quantization with the Rotation Trick",
    arXiv 2410.06424, section 4.
    """
    return _Rotate.apply(e, q)  # pyright: ignore[reportReturnType]


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, e: Tensor, q: Tensor) -> Tensor:
        ctx.save_for_backward(e, q)
        return q.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        e, q = ctx.saved_tensors
        e_norm, q_norm = e.norm(dim=-1, keepdim=True), q.norm(dim=-1, keepdim=True)
        tiny = torch.finfo(e.dtype).tiny
        e_unit, q_unit = e / e_norm.clamp(min=tiny), q / q_norm.clamp(min=tiny)
        middle = e_unit + q_unit
        middle_norm = middle.norm(dim=-1, keepdim=True)
        w = middle / middle_norm.clamp(min=tiny)

        def along(a: Tensor, b: Tensor) -> Tensor:
            return (a * b).sum(-1, keepdim=True)

        turned = grads[0] - 2 * w * along(w, grads[0]) + 2 * e_unit * along(q_unit, grads[0])
        defined = (
            (e_norm > SMALLEST_RATIO * q_norm)
            & (q_norm > SMALLEST_RATIO * e_norm)
            & (middle_norm > SMALLEST_RATIO)
        )
        scale = q_norm / e_norm.clamp(min=tiny)
        return torch.where(defined, scale * turned, grads[0]), None
