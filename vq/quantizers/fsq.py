"""Finite scalar quantization: a few bounded levels per dimension and no codebook."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..contract import Quantized
from .base import RowQuantizer
from .gradients import straight_through

LEVELS = {
    8: (8, 6, 5),
    10: (8, 5, 5, 5),
    12: (7, 5, 5, 5, 5),
    14: (8, 8, 8, 6, 5),
    16: (8, 8, 8, 5, 5, 5),
}
"""Recommended levels for about 2^bits combinations (Mentzer et al., table 1)."""
EPS_BOUND = 1e-3
"""How far the bound reaches beyond the outermost level, so that it can be rounded to."""


class FiniteScalarQuantizer(RowQuantizer):
    """Each dimension j is squashed into L_j levels and rounded; one index column per dimension.

    A value is center + scale * code with codes in [-1, 1]; center 0 and scale 1 until `fit`.
    No loss and no codes to die. An encoder behind it must be trained with it: the tanh is not
    undone.

    Reference: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", arXiv 2309.15505.
    """

    center: Tensor
    """[dim]."""
    scale: Tensor
    """[dim], positive."""

    def __init__(self, levels: Sequence[int], *, decay: float = 0.99) -> None:
        """A quantizer of `len(levels)` dimensions, each with at least 3 levels (see `LEVELS`)."""
        if not levels or min(levels) < 3:
            raise ValueError(
                f"`levels` must be at least 3 each, got {tuple(levels)}; two levels are "
                "`LookupFreeQuantizer`."
            )
        super().__init__(len(levels), tuple(levels), decay=decay)
        self.register_buffer("center", torch.zeros(self.dim))
        self.register_buffer("scale", torch.ones(self.dim))

    def _quantize(self, x: Tensor) -> Quantized:
        levels = self._levels(x)
        bounded = bound((x - self.center) / self.scale, levels)
        rounded = straight_through(bounded, bounded.round())
        half = levels // 2
        indices = (rounded.detach() + half).long()
        return Quantized(
            values=self.center + self.scale * (rounded / half),
            indices=indices,
            loss=x.new_zeros(()),
            bits=self._counted_bits(indices),
        )

    def _encode(self, x: Tensor) -> Tensor:
        levels = self._levels(x)
        return (bound((x - self.center) / self.scale, levels).round() + levels // 2).long()

    def _decode(self, indices: Tensor) -> Tensor:
        half = self._levels(self.center) // 2
        return self.center + self.scale * ((indices.float() - half) / half)

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        """Center on the mean, and take the scale with the least error of 24 tried."""
        share = (weights / weights.sum())[:, None]
        self.center.copy_((x * share).sum(0))
        deviation = ((x - self.center).square() * share).sum(0).sqrt().clamp(min=1e-12)
        best = torch.full_like(self.center, torch.inf)
        kept = self.scale.clone()
        for factor in torch.logspace(-0.5, 1, 24).tolist():
            self.scale.copy_(deviation * factor)
            error = ((self._decode(self._encode(x)) - x).square() * share).sum(0)
            better = error < best
            kept[better], best[better] = self.scale[better], error[better]
        self.scale.copy_(kept)

    def _levels(self, like: Tensor) -> Tensor:
        return torch.tensor(self.num_codes, device=like.device)


def bound(z: Float[Tensor, "*batch dim"], levels: Tensor) -> Float[Tensor, "*batch dim"]:
    """tanh(z + s) h - o, whose rounding has exactly `levels` values and maps 0 to 0.

    h = (L - 1)(1 + ε)/2, o = 1/2 for even L and 0 for odd, s = atanh(o/h).
    """
    half = (levels - 1).to(z.dtype) * (1 + EPS_BOUND) / 2
    offset = torch.where(levels % 2 == 0, 0.5, 0.0).to(z.dtype)
    return torch.tanh(z + torch.atanh(offset / half)) * half - offset
