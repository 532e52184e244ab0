"""Factorized quantization: look up in a few learned dimensions, by direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrizations import weight_norm

from ..contract import Quantized
from ..nearest import nearest
from .base import RowQuantizer, mean_square
from .gradients import straight_through
from .grouped import GroupedQuantizer
from .lloyd import cell_means, fit_codebook
from .residual import ResidualQuantizer

CODE_DIM = 8
"""Dimensions of the lookup in DAC and in NaturalSpeech 3's FACodec."""


class FactorizedQuantizer(RowQuantizer):
    """x -> out_proj(code nearest in direction to in_proj(x)), both projections weight-normed.

    The distance compares unit vectors (cosine), but the value that is returned is the row of the
    table as it is: its norm is information. Commitment is taken between un-normalized vectors of
    the low dimension.

    Reference: Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN" (DAC), section
    3.2; Ju et al., "NaturalSpeech 3", section 3.2.
    """

    def __init__(
        self,
        dim: int,
        num_codes: int,
        *,
        code_dim: int = CODE_DIM,
        commitment: float = 0.25,
        iterations: int = 20,
        decay: float = 0.99,
        seed: int = 0,
    ) -> None:
        """A quantizer with random projections and codes.

        Args:
            dim: Length of the vectors.
            num_codes: K.
            code_dim: Dimensions of the lookup; 8 in DAC and FACodec.
            commitment: Weight of the commitment loss beside the codebook loss (weight 1); 0.25 in
                DAC.
            iterations: Alternations of `fit`.
            decay: Of the statistics.
            seed: Of the projections, the codes and of `fit`.
        """
        super().__init__(dim, (num_codes,), decay=decay, seed=seed)
        if code_dim < 1:
            raise ValueError(f"`code_dim` must be at least 1, got {code_dim}.")
        self.code_dim, self.commitment, self.iterations = code_dim, commitment, iterations
        generator = torch.Generator().manual_seed(seed)
        self.in_proj = cast(nn.Linear, weight_norm(nn.Linear(dim, code_dim)))
        self.out_proj = cast(nn.Linear, weight_norm(nn.Linear(code_dim, dim)))
        self.codes = nn.Parameter(torch.randn(num_codes, code_dim, generator=generator))
        for layer in (self.in_proj, self.out_proj):
            weight = torch.randn(layer.weight.shape, generator=generator)
            _set_layer(layer, weight / layer.in_features**0.5, torch.zeros(layer.out_features))

    @property
    def codebook(self) -> Float[Tensor, "k dim"]:
        """The K values that a vector can take, [K, dim]."""
        return self.out_proj(self.codes)

    def _lookup(self, low: Float[Tensor, "n code_dim"]) -> Int[Tensor, "n"]:
        """The code of the nearest direction."""
        return nearest(normalize(low.detach(), dim=1), normalize(self.codes.detach(), dim=1))[0]

    def _quantize(self, x: Tensor) -> Quantized:
        low = self.in_proj(x)
        indices = self._lookup(low)
        codes = self.codes[indices]
        return Quantized(
            values=self.out_proj(straight_through(low, codes.detach())),
            indices=indices[:, None],
            loss=mean_square(codes, low.detach())
            + self.commitment * mean_square(low, codes.detach()),
            bits=self._counted_bits(indices[:, None]),
        )

    def _encode(self, x: Tensor) -> Tensor:
        return self._lookup(self.in_proj(x))[:, None]

    def _decode(self, indices: Tensor) -> Tensor:
        return self.out_proj(self.codes[indices[:, 0]])

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        """Principal axes as projections, then cell means under the lookup by direction."""
        share = (weights / weights.sum())[:, None]
        mean = (x * share).sum(0)
        covariance = ((x - mean) * share).T @ (x - mean)
        axes = torch.linalg.eigh(covariance.double())[1].flip(1)[:, : self.code_dim].float()
        kept = axes.shape[1]
        down = x.new_zeros(self.code_dim, self.dim)
        down[:kept] = axes.T
        # Weight norm divides by the norm of each row, so none may vanish: a row to spare repeats
        # the first axis, and the output weighs it by next to nothing.
        down[kept:] = axes[:, 0]
        up = torch.full((self.dim, self.code_dim), 1e-12, device=x.device)
        up[:, :kept] = axes + 1e-12
        for layer, weight, bias in ((self.in_proj, down, -down @ mean), (self.out_proj, up, mean)):
            _set_layer(layer, weight, bias)
        low = self.in_proj(x)
        codes = fit_codebook(low, len(self.codes), weights=weights, iterations=5, seed=self.seed)
        for _ in range(self.iterations):
            self.codes.copy_(codes)
            codes, _ = cell_means(low, self._lookup(low), weights, codes)
        self.codes.copy_(codes)


@torch.no_grad()
def _set_layer(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Set a weight-normed layer; the assignment splits `weight` into norms and directions."""
    layer.weight = weight  # pyright: ignore[reportAttributeAccessIssue]
    layer.bias.copy_(bias)


@dataclass(frozen=True)
class AttributeGroup:
    """Consecutive channels that mean one thing, with residual stages of their own."""

    dim: int
    """Number of channels."""
    num_stages: int
    """Residual stages."""
    num_codes: int = 1024
    """Codes of each stage; 2^10 in FACodec."""
    code_dim: int = CODE_DIM
    """Dimensions of the lookup."""


def attribute_factored(
    groups: Sequence[AttributeGroup], *, dropout: float = 0.5, seed: int = 0
) -> GroupedQuantizer:
    """One residual chain of factorized quantizers per attribute; any leading columns decode.

    FACodec spends 1, 2 and 3 stages on prosody, content and residual, and trains each against a
    predictor of the others' attributes behind `reverse_gradient`.

    Args:
        groups: The attributes, in the order of their channels.
        dropout: Share of a training batch that keeps a random number of stages; 0.5 in DAC.
        seed: Of everything random.
    """
    return GroupedQuantizer(
        [
            ResidualQuantizer(
                [
                    FactorizedQuantizer(
                        group.dim,
                        group.num_codes,
                        code_dim=group.code_dim,
                        seed=seed + 1000 * place + stage,
                    )
                    for stage in range(group.num_stages)
                ],
                dropout=dropout,
                seed=seed + place,
            )
            for place, group in enumerate(groups)
        ]
    )
