"""Settings of `fieldwright train nerfacto`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NerfactoConfig:
    """Every default works unedited.

    The parts are those of nerfacto. The sizes are for two CPU cores; its own are 4096 rays,
    proposals of 256 and 96 samples, 48 samples, 16 levels of 2 features with 2^19 entries.
    """

    rays: int = 2048
    """Rays per step."""
    proposal_samples: tuple[int, int] = (64, 32)
    """Samples of each of the two proposals on a ray."""
    samples: int = 24
    """Samples of the field on a ray."""
    levels: int = 8
    """Levels of the field's hash grid."""
    features: int = 4
    """Features of each entry: 1, 2, 4 or 8."""
    log2_entries: int = 18
    """A level has at most 2 to this power entries."""
    finest: int = 2048
    """Cells of the finest level along a side of the contracted cube."""
    proposal_finest: tuple[int, int] = (128, 256)
    """Cells of the finest level of each proposal's grid."""
    width: int = 64
    """Hidden units of the field's networks."""
    geometry_features: int = 15
    """Numbers that the density's network hands to the color's."""
    appearance: int = 32
    """Length of the embedding of each photo's look, 0 for none; held-out views take the mean."""
    refine_poses: bool = True
    """Correct the training cameras' poses."""
    background: Literal["auto", "black", "white", "random"] = "auto"
    """Behind the field; auto continues the last sample's color to infinity, or takes random colors
    for photos with alpha."""
    near: float = 0.05
    """Distance at which sampling starts, in units of the cameras' distance."""
    far: float = 1000.0
    """Distance at which it ends."""
    interlevel_weight: float = 1.0
    """Weight of the loss that trains the proposals."""
    distortion_weight: float = 0.002
    """Weight of the loss that gathers the weight of a ray in one place."""
    lr: float = 1e-2
    """Learning rate of grids and networks."""
    lr_poses: float = 1e-3
    """Learning rate of the poses."""
    lr_final: float = 0.02
    """Share of the learning rates at the end of the budget; log-linear between."""

    def __post_init__(self) -> None:
        counts = (self.rays, self.samples, *self.proposal_samples, self.width, self.levels)
        if min(counts) < 1:
            raise ValueError("`rays`, `samples`, `width` and `levels` must be at least 1.")
        if min(self.geometry_features, self.appearance) < 0:
            raise ValueError("`geometry_features` and `appearance` must not be negative.")
        if not 0 < self.near < self.far:
            raise ValueError(f"0 < near < far must hold, got {self.near} and {self.far}.")
        if min(self.finest, *self.proposal_finest) < 16:
            raise ValueError("`finest` and `proposal_finest` must be at least 16 cells.")
