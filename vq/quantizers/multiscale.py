"""Residual levels at halving resolutions over a latent image, each with its own codebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .gumbel import GumbelQuantizer

LEVEL_CODES = (8192, 2048, 512)
"""Codes of the levels, finest first, in McQuic's published models."""


@dataclass(frozen=True)
class MultiScaleQuantized:
    """What `MultiScaleQuantizer` made of a latent image; levels run from coarse to fine."""

    values: Float[Tensor, "*batch channels height width"]
    """The decoded latent image."""
    indices: tuple[Int[Tensor, "*batch _ _ m"], ...]
    """One int64 index per place and sub-codebook, each level twice the size of the one before."""
    loss: Float[Tensor, ""]
    """What training adds to its own loss."""
    bits: Float[Tensor, ""]
    """Ideal bits of all indices, differentiable."""


class MultiScaleQuantizer(nn.Module):
    """Levels of (halve, quantize, subtract), undone by (dequantize, add the coarser, double).

    Level l halves what the level before left over, y_l = down_l(r_(l-1)), codes q_l = Q_l(y_l) and
    passes on r_l = y_l - dequant_l(q_l). Decoding starts at the coarsest:
    z_l = up_l(dequant_l(q_l) + side_l(z_(l+1))). Coarse levels alone decode to a preview.

    Reference: Zhu et al., McQuic, CVPR 2022, figure 3. The heads here are single convolutions.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_codes: Sequence[int] = LEVEL_CODES,
        num_groups: int = 2,
        seed: int = 0,
    ) -> None:
        """Levels for latents of `channels`.

        Args:
            channels: C, a multiple of `num_groups`.
            num_codes: Codes of each level, finest first.
            num_groups: Sub-codebooks of each level.
            seed: Level l takes seed + l; the heads take torch's global generator.
        """
        super().__init__()
        self.channels = channels
        self.quantizers = nn.ModuleList(
            GumbelQuantizer(channels, size, num_groups=num_groups, seed=seed + level)
            for level, size in enumerate(num_codes)
        )
        levels = range(len(num_codes))
        self.down = nn.ModuleList(nn.Conv2d(channels, channels, 4, 2, 1) for _ in levels)
        self.dequant = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in levels)
        self.side = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, 1) for _ in levels)
        self.up = nn.ModuleList(nn.ConvTranspose2d(channels, channels, 4, 2, 1) for _ in levels)

    def levels(self) -> list[GumbelQuantizer]:
        """The quantizers, coarsest first, as in `indices`; their `tables` go to the coder."""
        return cast(list[GumbelQuantizer], list(self.quantizers))[::-1]

    def forward(self, x: Float[Tensor, "*batch channels height width"]) -> MultiScaleQuantized:
        """Quantize latent images whose sides are multiples of 2^levels."""
        rest, parts = self._checked(x), []
        for down, dequant, quantizer in zip(
            self.down, self.dequant, cast(list[GumbelQuantizer], self.quantizers), strict=True
        ):
            halved = down(rest)
            made = quantizer(halved.movedim(1, -1))
            parts.append((made, dequant(made.values.movedim(-1, 1))))
            rest = halved - parts[-1][1]
        values = self._join([coded for _, coded in parts])
        batch = x.shape[:-3]
        return MultiScaleQuantized(
            values=values.reshape(x.shape).to(x.dtype),
            indices=tuple(
                made.indices.reshape(*batch, *made.indices.shape[1:]) for made, _ in parts[::-1]
            ),
            loss=torch.stack([made.loss for made, _ in parts]).sum(),
            bits=torch.stack([made.bits for made, _ in parts]).sum(),
        )

    @torch.no_grad()
    def encode(
        self, x: Float[Tensor, "*batch channels height width"]
    ) -> tuple[Int[Tensor, "*batch _ _ m"], ...]:
        """The indices of each level, coarsest first."""
        rest, levels = self._checked(x), []
        for down, dequant, quantizer in zip(
            self.down, self.dequant, cast(list[GumbelQuantizer], self.quantizers), strict=True
        ):
            halved = down(rest)
            indices = quantizer.encode(halved.movedim(1, -1))
            rest = halved - dequant(quantizer.decode(indices).movedim(-1, 1))
            levels.append(indices.reshape(*x.shape[:-3], *indices.shape[1:]))
        return tuple(levels[::-1])

    def decode(
        self, indices: Sequence[Int[Tensor, "*batch _ _ m"]]
    ) -> Float[Tensor, "*batch channels height width"]:
        """The latent image of `indices`, coarsest first; missing finer levels count as 0."""
        if not 1 <= len(indices) <= len(self.quantizers):
            raise ValueError(
                f"`indices` must hold 1 to {len(self.quantizers)} levels, got {len(indices)}."
            )
        batch, coarsest = indices[0].shape[:-3], indices[0].shape[-3:-1]
        coded = []
        for level, dequant in enumerate(reversed(cast(list[nn.Module], list(self.dequant)))):
            rows, columns = (side << level for side in coarsest)
            if level < len(indices):
                values = self.levels()[level].decode(
                    indices[level].reshape(batch.numel(), *indices[level].shape[-3:])
                )
                coded.append(dequant(values.movedim(-1, 1)))
            else:
                coded.append(coded[0].new_zeros(batch.numel(), self.channels, rows, columns))
        joined = self._join(coded[::-1])
        return joined.reshape(*batch, *joined.shape[1:])

    def _join(self, coded: Sequence[Tensor]) -> Tensor:
        """Add up the dequantized levels, finest first, into the latent image."""
        joined = None
        for level in reversed(range(len(coded))):
            joined = coded[level] if joined is None else coded[level] + self.side[level](joined)
            joined = self.up[level](joined)
        assert joined is not None
        return joined

    def _checked(self, x: Tensor) -> Float[Tensor, "n channels height width"]:
        """`x` with one batch dimension and sides that halve evenly."""
        step = 1 << len(self.quantizers)
        if x.ndim < 3 or x.shape[-3] != self.channels or x.shape[-1] % step or x.shape[-2] % step:
            raise ValueError(
                f"`x` must be [..., {self.channels}, height, width] with sides that are multiples "
                f"of {step}, got {list(x.shape)}; pad the image."
            )
        return x.reshape(x.shape[:-3].numel(), *x.shape[-3:])
