"""What a family of latents has to offer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from .batch import ShapeBatch
from .layouts import Layout

Query = Callable[[Float[Tensor, "B Q 3"]], Float[Tensor, "B Q"]]
"""Truncated signed distances at points of each shape."""


class Family(nn.Module):
    """Encoder and decoder around the bottleneck of one form of latent."""

    layout: Layout
    """The latent's tensors."""
    widths: tuple[int, ...]
    """Channels of each part in front of and behind its bottleneck."""

    @abstractmethod
    def encode(self, batch: ShapeBatch) -> list[Tensor]:
        """Features [B, tokens, width] of each part's tokens."""

    @abstractmethod
    def decode(self, parts: list[Tensor]) -> Query:
        """The field of each shape; whatever depends on the latent alone is computed once, here."""
