"""Multi-codebook quantization trained by hard samples of a Gumbel softmax."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..contract import Quantized
from ..nearest import nearest
from .base import RowQuantizer
from .code_lengths import code_lengths
from .gradients import lower_bound, straight_through
from .lloyd import fit_codebook

DROPPED = -1e9
"""Logit of a code that is left out of a batch."""
MIN_TEMPERATURE = 1e-2
"""Bound of the learned temperature; at 0 no logit would depend on the distance."""


class GumbelQuantizer(RowQuantizer):
    """m sub-codebooks over slices of the vector; sampled in training, nearest code otherwise.

    The logits are -|x - c|²/√K times a learned temperature per sub-codebook; training draws one
    code by a Gumbel softmax whose value is the code and whose gradient is the softmax's, and leaves
    frequent codes out at random while few codes are in use. The frequencies that a static entropy
    coder needs are exact integers, `tables`. Training holds n m K logits; encoding is bounded.

    Reference: Zhu et al., "Unified Multivariate Gaussian Mixture for Efficient Neural Image
    Compression" (McQuic), CVPR 2022, and its published code.
    """

    codebooks: nn.Parameter
    """[m, K, dim/m]."""
    histogram: Tensor
    """How often each code was used since `reset_tables`, [m, K] int64."""

    def __init__(
        self,
        dim: int,
        num_codes: int,
        *,
        num_groups: int = 1,
        random_drop: bool = True,
        iterations: int = 20,
        decay: float = 0.9,
        seed: int = 0,
    ) -> None:
        """A quantizer with codes from N(0, 2/(5 dim/m)), "SmallInit" in McQuic.

        Args:
            dim: Length of the vectors, a multiple of `num_groups`.
            num_codes: K of each sub-codebook.
            num_groups: m.
            random_drop: Whether training leaves frequent codes out.
            iterations: Lloyd steps of `fit`.
            decay: Of the frequencies that decide what is left out.
            seed: Of the codes, the samples and of `fit`.
        """
        if num_groups < 1 or dim % num_groups:
            raise ValueError(f"`num_groups` must divide `dim` {dim}, got {num_groups}.")
        super().__init__(dim, (num_codes,) * num_groups, decay=decay, seed=seed)
        self.random_drop, self.iterations = random_drop, iterations
        size = dim // num_groups
        generator = torch.Generator().manual_seed(seed)
        codes = torch.randn(num_groups, num_codes, size, generator=generator)
        self.codebooks = nn.Parameter(codes * math.sqrt(2 / (5 * size)))
        self.temperature = nn.Parameter(torch.ones(num_groups))
        self.register_buffer(
            "histogram", torch.zeros(num_groups, num_codes, dtype=torch.int64), persistent=True
        )

    def tables(self) -> tuple[Int[Tensor, "k"], ...]:
        """The static frequency table of each index column: integers, at least 1."""
        return tuple(self.histogram.clamp(min=1).unbind(0))

    def reset_tables(self) -> None:
        """Forget the frequencies, for example before `tally` over what will be coded."""
        self.histogram.zero_()

    @torch.no_grad()
    def tally(self, indices: Int[Tensor, "*batch stages"]) -> None:
        """Add `indices` to the frequencies behind `tables`."""
        groups, size = self.histogram.shape
        offsets = torch.arange(groups, device=indices.device) * size
        flat = (indices.reshape(-1, groups) + offsets).flatten()
        self.histogram += torch.bincount(flat, minlength=groups * size).view(groups, size)

    @torch.no_grad()
    def reassign(self) -> int:
        """Move codes that `histogram` never saw beside the most used ones; how many moved.

        Each takes the place of a popular code, most used first, a thousandth of its size away. Call
        it every epoch and `reset_tables` after it, as in McQuic.
        """
        moved = 0
        generator = self._generator(torch.device("cpu"))
        for codes, uses in zip(self.codebooks, self.histogram, strict=True):
            dead = (uses == 0).nonzero()[:, 0]
            popular = uses.argsort(descending=True, stable=True)[: int((uses > 0).sum())]
            if len(dead) == 0 or len(popular) == 0:
                continue
            source = codes[popular[torch.arange(len(dead), device=codes.device) % len(popular)]]
            noise = torch.randn(source.shape, generator=generator).to(codes.device)
            codes[dead] = source + 1e-3 * codes.std() * noise
            moved += len(dead)
        return moved

    def _quantize(self, x: Tensor) -> Quantized:
        if not self.training:
            indices = self._encode(x)
            values = straight_through(x, self._decode(indices).detach())
            return Quantized(values, indices, x.new_zeros(()), self._counted_bits(indices))
        slices = x.view(len(x), *self.codebooks.shape[::2]).transpose(0, 1)
        logits = self._logits(slices)
        indices, sample = self._sample(logits)
        values = torch.bmm(sample, self.codebooks).transpose(0, 1).reshape(x.shape)
        if len(x):
            self.count(indices)
            self.tally(indices)
        tables = self.counts.view(len(self.codebooks), -1)
        lengths = torch.stack([code_lengths(table) for table in tables])
        bits = (sample * lengths[:, None]).sum()
        return Quantized(values, indices, x.new_zeros(()), bits)

    def _logits(self, slices: Float[Tensor, "m n size"]) -> Float[Tensor, "m n k"]:
        """-|x - c|²/√K times the temperature; the codes come last."""
        codes = self.codebooks
        distances = (
            slices.square().sum(2, keepdim=True)
            + codes.square().sum(2)[:, None]
            - 2 * torch.bmm(slices, codes.transpose(1, 2))
        )
        temperature = lower_bound(self.temperature, MIN_TEMPERATURE)
        return -distances / math.sqrt(codes.shape[1]) * temperature[:, None, None]

    def _sample(self, logits: Tensor) -> tuple[Int[Tensor, "n m"], Float[Tensor, "m n k"]]:
        """One code per vector and group, and its one-hot row with the gradient of the softmax."""
        generator = self._generator(logits.device)
        if self.random_drop:
            logits = logits.masked_fill(self._left_out(logits.shape, generator), DROPPED)
        uniform = torch.rand(logits.shape, generator=generator, device=logits.device)
        noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        soft = (logits + noise).softmax(-1)
        chosen = soft.argmax(-1)
        hard = torch.nn.functional.one_hot(chosen, logits.shape[-1]).to(soft)
        return chosen.T, straight_through(soft, hard)

    def _left_out(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Where U^(b - (b - 1) usage²) < frequency, with b = log2 K: [m, n, K].

        The fuller the codebook, the rarer; a frequent code is left out more often.
        """
        tables = self.counts.view(len(self.codebooks), -1)
        frequency = tables / tables.sum(1, keepdim=True).clamp(min=1e-12)
        bits = math.log2(shape[-1])
        exponent = bits - (bits - 1) * self.usage.square()
        uniform = torch.rand(shape, generator=generator, device=tables.device)
        return uniform ** exponent[:, None, None] < frequency[:, None]

    def _encode(self, x: Tensor) -> Tensor:
        slices = x.split(self.codebooks.shape[2], dim=1)
        pairs = zip(slices, self.codebooks, strict=True)
        return torch.stack([nearest(part, codes)[0] for part, codes in pairs], dim=1)

    def _decode(self, indices: Tensor) -> Tensor:
        groups = torch.arange(len(self.codebooks), device=indices.device)
        return self.codebooks[groups, indices].flatten(1)

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        for group, part in enumerate(x.split(self.codebooks.shape[2], dim=1)):
            self.codebooks[group] = fit_codebook(
                part.contiguous(),
                self.codebooks.shape[1],
                weights=weights,
                iterations=self.iterations,
                seed=self.seed + group,
            )

    def _recount(self, x: Tensor) -> None:
        super()._recount(x)
        self.reset_tables()
        self.tally(self._encode(x))
