"""The auto-encoder: a family around a bottleneck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from .batch import ShapeBatch
from .bottlenecks import Neck, QuantizedNeck, Squeezed, make_neck
from .config import ModelConfig
from .family import Family, Query
from .layouts import Layout
from .sets import HierarchicalSet, VectorSet
from .spatial import Spatial

TRUNCATION = 0.1
"""Distances are learned in this unit and cut off beyond it, box units."""

_FAMILIES: dict[str, type[Family]] = {"vecset": VectorSet, "hierarchy": HierarchicalSet}


@dataclass(frozen=True)
class Fields:
    """Decoded shapes that can be asked anywhere."""

    query: Query
    """Distances in units of `TRUNCATION`."""
    batch: int
    """How many shapes."""

    def distances(self, points: Float[Tensor, "B Q 3"]) -> Float[Tensor, "B Q"]:
        """Signed distances, box units, negative inside, meaningful up to `TRUNCATION`."""
        return TRUNCATION * self.query(points)


class ShapeAutoEncoder(nn.Module):
    """Any of the families with any of the bottlenecks."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        kind = _FAMILIES.get(config.family, Spatial)
        self.family: Family = kind(config)  # pyright: ignore[reportCallIssue]
        self.necks = nn.ModuleList(
            make_neck(config, part, width)
            for part, width in zip(self.layout.parts, self.family.widths, strict=True)
        )

    @property
    def layout(self) -> Layout:
        """Shapes of the latent's tensors."""
        return self.family.layout

    @property
    def num_parameters(self) -> int:
        """Learned numbers."""
        return sum(p.numel() for p in self.parameters())

    def encode(self, batch: ShapeBatch) -> list[Squeezed]:
        """The latent of each shape, part by part."""
        features = self.family.encode(batch)
        return [neck.squeeze(x) for neck, x in zip(self._each_neck(), features, strict=True)]

    def decode(self, latents: Sequence[Tensor]) -> Fields:
        """The fields of latents, [B, tokens, channels] for each part.

        Raises:
            ValueError: A part is missing or has another shape than the layout says.
        """
        parts = self.layout.parts
        expected = [(part.tokens, part.channels) for part in parts]
        found = [tuple(x.shape[1:]) for x in latents]
        if found != expected:
            raise ValueError(f"`latents` must be [B, ...] of {expected}, got {found}.")
        expanded = [neck.expand(x) for neck, x in zip(self._each_neck(), latents, strict=True)]
        return Fields(self.family.decode(expanded), len(latents[0]))

    def forward(
        self, batch: ShapeBatch, points: Float[Tensor, "B Q 3"]
    ) -> tuple[Float[Tensor, "B Q"], list[Squeezed]]:
        """Distances at points in units of `TRUNCATION`, and the latent."""
        squeezed = self.encode(batch)
        return self.decode([part.values for part in squeezed]).query(points), squeezed

    def latents_of(self, indices: Sequence[Tensor]) -> list[Tensor]:
        """The latent that codes stand for, part by part; for quantized bottlenecks."""
        found = []
        for neck, codes in zip(self._each_neck(), indices, strict=True):
            if not isinstance(neck, QuantizedNeck):
                raise ValueError(f"a {self.config.bottleneck} bottleneck has no codes.")
            found.append(neck.quantizer.decode(codes).detach())
        return found

    def quantizers(self) -> list[QuantizedNeck]:
        """The bottlenecks that have a codebook; empty for continuous ones."""
        return [neck for neck in self._each_neck() if isinstance(neck, QuantizedNeck)]

    def _each_neck(self) -> list[Neck]:
        return [neck for neck in self.necks if isinstance(neck, Neck)]
