"""Entropy-constrained vector quantization: the assignment pays for the bits of its choice."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..contract import Quantized
from ..nearest import nearest
from .base import RowQuantizer, mean_square
from .gradients import straight_through
from .lloyd import cell_means, fit_codebook

MAX_LENGTH = 64.0
"""Bits of a code that nothing uses: finite, yet too dear for any vector to take it."""


class EntropyConstrainedQuantizer(RowQuantizer):
    """Code of least |x - c_k|² + λ len_k, with len_k = -log2 p_k under learned probabilities.

    With an entropy coder behind it, this has the least distortion for its rate. Codes that do not
    pay for themselves fall out of use by design. `bits` is differentiable towards `logits`.

    Reference: Chou, Lookabaugh and Gray, "Entropy-Constrained Vector Quantization", IEEE Trans.
    ASSP 37(1), 1989.
    """

    def __init__(
        self,
        dim: int,
        num_codes: int,
        *,
        rate_weight: float,
        commitment: float = 0.25,
        iterations: int = 60,
        decay: float = 0.99,
        seed: int = 0,
    ) -> None:
        """A quantizer with codes from N(0, 1), all equally likely.

        Args:
            dim: Length of the vectors.
            num_codes: K, the most codes that can be in use.
            rate_weight: λ, squared error that one bit is worth. On the distortion-rate curve of a
                d-dimensional source at high rate it is 2 ln 2 / d times the error of a vector.
            commitment: Weight of mean((sg q - x)²) in the loss.
            iterations: Alternations of `fit`, half of them k-means.
            decay: Of the statistics.
            seed: Of the codes and of `fit`.
        """
        super().__init__(dim, (num_codes,), decay=decay, seed=seed)
        if not rate_weight >= 0:
            raise ValueError(f"`rate_weight` must be at least 0, got {rate_weight}.")
        self.rate_weight, self.commitment = rate_weight, commitment
        self.iterations = iterations
        generator = torch.Generator().manual_seed(seed)
        self.codebook = nn.Parameter(torch.randn(num_codes, dim, generator=generator))
        self.logits = nn.Parameter(torch.zeros(num_codes))

    @property
    def lengths(self) -> Float[Tensor, "k"]:
        """Bits of each code under the learned probabilities."""
        return -self.logits.log_softmax(0) / math.log(2)

    def _nearest(self, x: Tensor) -> Tensor:
        penalty = self.rate_weight * self.lengths.detach()
        return nearest(x.detach(), self.codebook.detach(), penalty=penalty)[0]

    def _quantize(self, x: Tensor) -> Quantized:
        """The loss is the codebook and commitment loss and λ times the rate, all per value."""
        indices = self._nearest(x)
        if self.training and len(x):
            self.count(indices[:, None])
        values = self.codebook[indices]
        bits = self.lengths[indices].sum()
        return Quantized(
            values=straight_through(x, values.detach()),
            indices=indices[:, None],
            loss=mean_square(values, x.detach())
            + self.commitment * mean_square(x, values.detach())
            + self.rate_weight * bits / max(1, x.numel()),
            bits=bits,
        )

    def _encode(self, x: Tensor) -> Tensor:
        return self._nearest(x)[:, None]

    def _decode(self, indices: Tensor) -> Tensor:
        return self.codebook[indices[:, 0]]

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        """k-means, then Chou's alternation: assign at a price, update probabilities and means.

        Neither step raises D + λR, with the rate counted over the weighted vectors.
        """
        size = len(self.codebook)
        start = fit_codebook(
            x, size, weights=weights, iterations=self.iterations // 2, seed=self.seed
        )
        self.codebook.copy_(start)
        self._set_probabilities(cell_means(x, nearest(x, start)[0], weights, start)[1])
        for _ in range(self.iterations - self.iterations // 2):
            self._alternate(x, weights)
        order = self.logits.argsort(descending=True, stable=True)
        self.codebook.copy_(self.codebook[order])
        self.logits.copy_(self.logits[order])

    def _alternate(self, x: Float[Tensor, "n dim"], weights: Float[Tensor, "n"]) -> None:
        """Assign at the present price, then move codes and probabilities to their cells'."""
        means, mass = cell_means(x, self._nearest(x), weights, self.codebook)
        self.codebook.copy_(means)
        self._set_probabilities(mass)

    def _set_probabilities(self, mass: Float[Tensor, "k"]) -> None:
        smallest = mass.sum() * 2.0**-MAX_LENGTH
        self.logits.copy_(mass.clamp(min=float(smallest)).log())
