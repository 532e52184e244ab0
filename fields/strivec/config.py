"""Settings of `fieldwright train strivec`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..grids.config import GridConfig
from ..tensors.cp import MAX_RANK

_FINEST = 1 / 200


@dataclass(frozen=True)
class StrivecConfig(GridConfig):
    """Every default works unedited. Sizes are those of Strivec's objects, at half the nodes: they
    are for photos of 400 pixels. All scales have nodes equally far apart."""

    pitches: tuple[float, ...] = (0.16, 0.08, 0.04)
    """Distance of neighboring tensors of each scale, shares of the box's side, descending."""
    overlap: float = 1.25
    """Side of a tensor's cube in units of the pitch, 1 to 2: neighbors fade into each other."""
    density_ranks: tuple[int, ...] = (32, 24, 16)
    """Components of the density of each scale, multiples of 8."""
    color_rank: int = 48
    """Components of the color of all scales, a multiple of 8."""
    first_nodes: int = 80
    """Nodes across the box's side at first."""
    nodes: int = 230
    """The same after the last upsampling."""
    sparsity: float = 1e-5
    """Weight of the mean absolute value of each scale's density vectors."""
    points: Path | None = None
    """Points or splats in the frame of the source that tensors are placed along, any format that
    `convert` reads; None trains a small box of factors first."""
    coarse_until: float = 0.04
    """Share of the budget for that box."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pitches or list(self.pitches) != sorted(self.pitches, reverse=True):
            raise ValueError(f"`pitches` must be descending shares, got {self.pitches}.")
        if not _FINEST <= self.pitches[-1] <= self.pitches[0] <= 1:
            raise ValueError(f"`pitches` must be {_FINEST} to 1, got {self.pitches}.")
        if len(self.density_ranks) != len(self.pitches):
            raise ValueError(
                f"`density_ranks` must name a rank for each of {len(self.pitches)} `pitches`, got "
                f"{self.density_ranks}."
            )
        if not all(
            8 <= r <= MAX_RANK and r % 8 == 0 for r in (*self.density_ranks, self.color_rank)
        ):
            raise ValueError(
                f"`density_ranks` and `color_rank` must be multiples of 8 up to {MAX_RANK}, got "
                f"{self.density_ranks} and {self.color_rank}."
            )
        if not 1 < self.overlap <= 2:
            raise ValueError(f"`overlap` must be above 1 and at most 2, got {self.overlap}.")
        if not 2 <= self.first_nodes <= self.nodes:
            raise ValueError(
                f"2 <= first_nodes <= nodes must hold, got {self.first_nodes} and {self.nodes}."
            )
        if not 0 < self.coarse_until < min(self.upsample_at, default=1):
            raise ValueError(
                f"`coarse_until` must be above 0 and before `upsample_at`, got {self.coarse_until}."
            )
