"""Which auto-encoder, and how large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["vecset", "hierarchy", "triplane", "grid", "hybrid"]
Bottleneck = Literal["normalized", "kl", "vq", "simvq", "rotation", "fsq", "residual"]

FAMILIES: tuple[Family, ...] = ("vecset", "hierarchy", "triplane", "grid", "hybrid")


@dataclass(frozen=True)
class ModelConfig:
    """Which auto-encoder, and how large."""

    family: Family = "hybrid"
    """Form of the latent: "vecset" (3DShape2VecSet), "hierarchy" (LaGeM), "triplane", "grid", or
    "hybrid" (Hyper3D: planes and a coarse grid, from octree features)."""
    floats: int = 4096
    """Numbers per shape, 1024, 4096 or 16384; the layouts differ from it by at most 7 %."""
    bottleneck: Bottleneck = "normalized"
    """What the latent passes through."""
    width: int = 64
    """Channels of convolutional features and of the last decoder layers."""
    set_width: int = 128
    """Channels of attention over sets."""
    set_blocks: int = 4
    """Self-attention blocks of the flat set; the hierarchy spreads as many over its levels."""
    heads: int = 4
    """Heads of attention."""
    num_points: int = 2048
    """Surface points that encoders of points see."""
    codebook: int = 1024
    """Codes of the quantized bottlenecks, 256 per stage of the residual one."""
    kl_weight: float = 1e-3
    """Weight of the KL term, mean over the latent's numbers."""

    def __post_init__(self) -> None:
        if self.width % 8 or self.set_width % self.heads:
            raise ValueError(
                f"`width` must be a multiple of 8 and `set_width` of `heads`, got {self.width}, "
                f"{self.set_width} and {self.heads}."
            )
