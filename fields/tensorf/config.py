"""Settings of `fieldwright train tensorf`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..grids.config import GridConfig


@dataclass(frozen=True)
class TensorfConfig(GridConfig):
    """Every default works unedited; ranks and nodes are those of VM-192 and CP-384."""

    decomposition: Literal["vm", "cp"] = "vm"
    """Planes and lines, or lines alone: smaller, and less sharp."""
    density_rank: int | None = None
    """Components of the density, per orientation in VM; None takes 16, or 96 in CP."""
    color_rank: int | None = None
    """Components of the color, per orientation in VM; None takes 48, or 288 in CP."""
    first_nodes: int = 128
    """Nodes along the side of a cube as large as the box, at first."""
    nodes: int = 300
    """The same after the last upsampling."""
    sparsity: float | None = None
    """Weight of the mean absolute value of the density's factors; None takes 8e-5, or 1e-5 in CP.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("density_rank", "color_rank"):
            rank = getattr(self, name)
            if rank is not None and not (rank >= 8 and rank % 8 == 0):
                raise ValueError(f"`{name}` must be a multiple of 8, got {rank}.")
        if not 2 <= self.first_nodes <= self.nodes:
            raise ValueError(
                f"2 <= first_nodes <= nodes must hold, got {self.first_nodes} and {self.nodes}."
            )

    @property
    def ranks(self) -> tuple[int, int]:
        """Components of density and color."""
        usual = (16, 48) if self.decomposition == "vm" else (96, 288)
        return self.density_rank or usual[0], self.color_rank or usual[1]

    @property
    def sparsity_weight(self) -> float:
        """See `sparsity`."""
        usual = 8e-5 if self.decomposition == "vm" else 1e-5
        return usual if self.sparsity is None else self.sparsity
