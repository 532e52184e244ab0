"""Products of three vectors in local cubes, blended over the cubes that cover a sample.

In a cube with local coordinates (u, v, w) in [0, 1]^3, component r is x_r(u) y_r(v) z_r(w), each
interpolated linearly between nodes, the first and the last on the cube's faces. A sample takes the
sum of the components of its cubes, weighted. Reference: Gao et al., "Strivec", 2023, eq. 3 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from ..kernels import native_for

MAX_RANK = 48
"""Most components that the kernel takes."""


@dataclass(frozen=True)
class LocalPairs:
    """Which cubes cover which samples: P pairs, those of one sample one after the other."""

    offsets: Int64[Tensor, "S1"]
    """Pairs of sample s are `offsets[s]` to `offsets[s + 1]`; S + 1 numbers."""
    tensors: Int32[Tensor, "P"]
    """The cube of each pair."""
    local: Float[Tensor, "P 3"]
    """Where in the cube the sample lies, in [0, 1]."""
    weights: Float[Tensor, "P"]
    """Share of the cube in the sample."""

    @property
    def num_samples(self) -> int:
        """S."""
        return len(self.offsets) - 1

    @cached_property
    def samples(self) -> Int64[Tensor, "P"]:
        """The sample of each pair."""
        counts = self.offsets.diff()
        return torch.arange(self.num_samples).repeat_interleave(counts)


def cp_features(
    vectors: Float[Tensor, "T 3 L R"], pairs: LocalPairs, *, summed: bool
) -> Float[Tensor, "S *components"]:
    """Components of each sample [S, R], or their sum [S]; differentiable in `vectors`.

    Args:
        vectors: Values at the nodes of each axis, R a multiple of 8.
        pairs: Where they are looked up.
        summed: Add the components up.

    Raises:
        ValueError: R is no multiple of 8, or above 48.
    """
    rank = vectors.shape[3]
    if rank % 8 or not 8 <= rank <= MAX_RANK or vectors.shape[2] < 2:
        raise ValueError(
            "`vectors` must be [T, 3, L, R] with L >= 2 and R a multiple of 8 up to "
            f"{MAX_RANK}, got {list(vectors.shape)}."
        )
    native = native_for(vectors, pairs.local)
    if native is None:
        return cp_reference(vectors, pairs, summed=summed)
    return _Cp.apply(vectors, pairs, summed, native)


def cp_reference(
    vectors: Float[Tensor, "T 3 L R"], pairs: LocalPairs, *, summed: bool
) -> Float[Tensor, "S *components"]:
    """`cp_features` in plain torch: the definition of the kernel."""
    nodes = vectors.shape[2]
    at = pairs.local.clamp(0, 1) * (nodes - 1)
    node = at.long().clamp(max=nodes - 2)
    share = (at - node)[..., None]
    index, axes = pairs.tensors.long()[:, None], torch.arange(3)
    left, right = vectors[index, axes, node], vectors[index, axes, node + 1]
    products = (left + share * (right - left)).prod(dim=1) * pairs.weights[:, None]
    found = vectors.new_zeros(pairs.num_samples, vectors.shape[3])
    found = found.index_add(0, pairs.samples, products)
    return found.sum(1) if summed else found


class _Cp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, pairs: LocalPairs, summed: bool, native: Any) -> Tensor:
        rank = vectors.shape[3]
        out = torch.empty(pairs.num_samples) if summed else torch.empty(pairs.num_samples, rank)
        held = (vectors.detach().contiguous(), pairs.offsets, pairs.tensors, pairs.local)
        ctx.held = tuple(item.contiguous() for item in (*held, pairs.weights))
        ctx.settings = (vectors.shape[2], rank, summed)
        ctx.native, ctx.samples = native, pairs.num_samples
        native.cp_forward(
            *(item.data_ptr() for item in ctx.held),
            *ctx.settings,
            out.data_ptr(),
            pairs.num_samples,
        )
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        given, found = gradients[0].contiguous(), torch.empty_like(ctx.held[0])
        ctx.native.cp_backward(
            *(item.data_ptr() for item in ctx.held),
            *ctx.settings,
            given.data_ptr(),
            found.data_ptr(),
            ctx.samples,
            len(found),
        )
        return found, None, None, None
