"""Low-rank projection in front of a quantizer, with the rank chosen by an estimate."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..contract import Quantized
from ..transforms.lowrank import expected_distortions
from .base import RowQuantizer
from .composite import CompositeQuantizer


class LowRankQuantizer(CompositeQuantizer):
    """x -> B Q(A x + a) + b, with A [rank, dim] and B [dim, rank] fitted, then learned.

    Clustering in few dimensions spends its codes where the variance is; what the projection cuts
    off is lost. `expected_distortions` weighs the two against each other.

    Reference: Zhu et al., "Learning Low-Rank Representations for Model Compression" (LR²VQ),
    arXiv 2211.11397.
    """

    def __init__(self, dim: int, quantizer: RowQuantizer) -> None:
        """Project to `quantizer.dim` <= `dim` dimensions; a coordinate selection until fitted."""
        if quantizer.dim > dim:
            raise ValueError(f"`quantizer.dim` must be at most {dim}, got {quantizer.dim}.")
        columns = [(0, column) for column in range(len(quantizer.num_codes))]
        super().__init__(dim, [quantizer], columns)
        self.prefix_decodable = quantizer.prefix_decodable
        self.down = nn.Linear(dim, quantizer.dim)
        self.up = nn.Linear(quantizer.dim, dim)
        self._project(torch.eye(dim)[: quantizer.dim], torch.zeros(dim))

    @classmethod
    def for_data(
        cls,
        x: Float[Tensor, "n dim"],
        make_quantizer: Callable[[int], RowQuantizer],
        *,
        bits: float,
    ) -> LowRankQuantizer:
        """Choose the rank for `x` at a rate of `bits` per vector, then make and fit.

        Args:
            x: The data.
            make_quantizer: Rank to a quantizer of that many dimensions.
            bits: Rate of the quantizer, for example log2 K.
        """
        centered = x.double() - x.double().mean(0)
        variances = torch.linalg.eigvalsh(centered.T @ centered / len(x)).flip(0)
        rank = 1 + int(expected_distortions(variances.numpy(force=True), bits).argmin())
        made = cls(x.shape[1], make_quantizer(rank))
        made.fit(x)
        return made

    @property
    def quantizer(self) -> RowQuantizer:
        """What quantizes the projected vectors."""
        return self.each_part()[0]

    def _quantize(self, x: Tensor) -> Quantized:
        made = self.quantizer(self.down(x))
        self._gather_counts()
        values = self.up(made.values)
        return Quantized(
            values=values,
            indices=made.indices,
            loss=made.loss,
            bits=made.bits,
        )

    def _encode(self, x: Tensor) -> Tensor:
        return self.quantizer.encode(self.down(x))

    def _decode(self, indices: Tensor) -> Tensor:
        return self.up(self.quantizer.decode(indices))

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        share = (weights / weights.sum()).double()[:, None]
        mean = (x.double() * share).sum(0)
        centered = x.double() - mean
        axes = torch.linalg.eigh((centered * share).T @ centered)[1].flip(1)
        self._project(axes.T[: self.quantizer.dim].float(), mean.float())
        self.quantizer.fit(self.down(x), weights=weights)

    @torch.no_grad()
    def _project(self, axes: Float[Tensor, "rank dim"], mean: Float[Tensor, "dim"]) -> None:
        """Let A, a, B and b project onto orthonormal `axes` through `mean`."""
        self.down.weight.copy_(axes)
        self.down.bias.copy_(-axes @ mean)
        self.up.weight.copy_(axes.T)
        self.up.bias.copy_(mean)
