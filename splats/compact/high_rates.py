"""Learning rates that the compact methods have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..training.config import SplatsConfig


@dataclass(frozen=True)
class HighRatesConfig(SplatsConfig):
    """Settings of `splats` whose rates are higher: what is made small has less to overfit with."""

    means_unit: Literal["extent", "pixel"] = "pixel"
    """What `lr_means` counts: the extent of the cameras, or pixels of a photo at the depth of what
    it shows."""
    lr_means: float = 0.6
    """Learning rate of the centers, in `means_unit` per step."""
    lr_means_final: float = 3e-3
    """The same at the end of the budget; log-linear between."""
    lr_scales: float = 1e-2
    """Learning rate of the log scales, twice that of `splats`."""
    lr_quats: float = 2e-3
    """Learning rate of the rotations, twice that of `splats`."""
    lr_opacities: float = 8e-2
    """Learning rate of the opacity logits, 1.6 times that of `splats`."""
