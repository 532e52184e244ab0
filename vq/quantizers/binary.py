"""One bit per dimension: lookup-free and binary spherical quantization."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize, softplus

from ..contract import Quantized
from .base import RowQuantizer, mean_square
from .gradients import straight_through

INVERSE_TEMPERATURE = 100.0
"""Sharpness of the soft assignment in the entropy loss (MAGVIT-v2's LFQ)."""


class _BinaryQuantizer(RowQuantizer):
    """center + scale * b with b_j = ±unit; one index column per dimension, 1 for +.

    The loss is `entropy_weight` (E H(p(b|z)) - γ H(E p(b|z))) + `commitment` mean((z - sg b)²).
    Bits are treated as independent: exact for the first entropy, an upper bound for the second.
    """

    center: Tensor
    """[dim]."""
    scale: Tensor
    """[dim], positive."""

    def __init__(
        self,
        dim: int,
        *,
        entropy_weight: float = 0.1,
        diversity: float = 1.0,
        commitment: float = 0.25,
        inverse_temperature: float = INVERSE_TEMPERATURE,
        decay: float = 0.99,
    ) -> None:
        """A quantizer with center 0 and scale 1.

        Args:
            dim: Length of the vectors, and bits of each.
            entropy_weight: Of both entropies; 0.1 in MAGVIT-v2.
            diversity: γ, how much an even use of all codes counts.
            commitment: Weight of the distance to the code.
            inverse_temperature: Sharpness of p(b|z) ~ exp(-|z - b|² times it).
            decay: Of the statistics.
        """
        super().__init__(dim, (2,) * dim, decay=decay)
        self.entropy_weight, self.diversity = entropy_weight, diversity
        self.commitment, self.inverse_temperature = commitment, inverse_temperature
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    @property
    @abstractmethod
    def unit(self) -> float:
        """Magnitude of each component of a code."""

    @abstractmethod
    def _codable(self, z: Tensor) -> Tensor:
        """What is compared with the codes."""

    def _quantize(self, x: Tensor) -> Quantized:
        z = self._codable((x - self.center) / self.scale)
        indices = (z.detach() > 0).long()
        codes = (2 * indices - 1) * self.unit
        loss = self.commitment * mean_square(z, codes)
        if self.training and len(x):
            loss = loss + self.entropy_weight * self._entropy_loss(z)
        return Quantized(
            values=self.center + self.scale * straight_through(z, codes),
            indices=indices,
            loss=loss,
            bits=self._counted_bits(indices),
        )

    def _entropy_loss(self, z: Tensor) -> Tensor:
        """E H(p(b|z)) - γ H(E p(b|z)) in nats, summed over the bits."""
        # |z + u|² - |z - u|² = 4 z u for each component.
        logits = 4 * self.inverse_temperature * self.unit * z
        positive = torch.sigmoid(logits)
        each = softplus(logits) - logits * positive
        mean = positive.mean(0)
        together = torch.special.entr(mean) + torch.special.entr(1 - mean)
        return each.sum(1).mean() - self.diversity * together.sum()

    def _encode(self, x: Tensor) -> Tensor:
        return (self._codable((x - self.center) / self.scale) > 0).long()

    def _decode(self, indices: Tensor) -> Tensor:
        return self.center + self.scale * ((2 * indices - 1) * self.unit)

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        """Center on the mean; scale so that each code component is the mean distance from it."""
        share = (weights / weights.sum())[:, None]
        self.center.copy_((x * share).sum(0))
        distance = ((x - self.center).abs() * share).sum(0)
        self.scale.copy_(distance.clamp(min=1e-12) / self.unit)


class LookupFreeQuantizer(_BinaryQuantizer):
    """LFQ: b = sign(z).

    Reference: Yu et al., "Language Model Beats Diffusion" (MAGVIT-v2), arXiv 2310.05737.
    """

    @property
    def unit(self) -> float:
        """1: codes are corners of the cube."""
        return 1.0

    def _codable(self, z: Tensor) -> Tensor:
        return z


class BinarySphericalQuantizer(_BinaryQuantizer):
    """BSQ: u = z/|z| and b = sign(u)/√d, so that |u - b| < √(2 - 2/√d).

    Reference: Zhao et al., "Image and Video Tokenization with Binary Spherical Quantization",
    arXiv 2406.07548, section 4.
    """

    @property
    def unit(self) -> float:
        """1/√d: codes are corners of the cube on the unit sphere."""
        return self.dim**-0.5

    def _codable(self, z: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        return normalize(z, dim=1)
