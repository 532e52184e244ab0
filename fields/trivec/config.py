"""Settings of `fieldwright train trivec`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrivecConfig:
    """Every default works unedited."""

    rank: Literal[8, 16, 24, 32] = 16
    """Components per leaf."""
    nodes: int = 8
    """Values per component and axis."""
    sh_degree: int = 1
    """Degree of the view-dependent color, 0 to 2."""
    grid: int = 16
    """Leaves along each side of the scene's cube at first, a power of two."""
    refine_at: tuple[float, ...] = (0.1, 0.3)
    """Shares of the budget after which leaves are halved."""
    max_leaves: int = 12_000
    """Most leaves; the most promising are halved."""
    rays: int = 4096
    """Rays per step."""
    background: Literal["auto", "black", "white", "random"] = "auto"
    """Behind the field; auto takes random colors for photos with alpha, else black."""
    lr_vectors: float = 0.02
    """Learning rate of the vectors."""
    lr_densities: float = 0.02
    """Learning rate of the density's weights."""
    lr_colors: float = 0.02
    """Learning rate of the color's weights."""
    lr_final: float = 0.05
    """Share of the learning rates at the end of the budget; log-linear between."""
    target_size: int | None = None
    """Most bytes of the scene file; None writes every float32 bit."""

    def __post_init__(self) -> None:
        if not 0 <= self.sh_degree <= 2:
            raise ValueError(f"`sh_degree` must be 0, 1 or 2, got {self.sh_degree}.")
        if self.nodes < 2:
            raise ValueError(f"`nodes` must be at least 2, got {self.nodes}.")
        if self.grid < 2 or self.grid & (self.grid - 1):
            raise ValueError(f"`grid` must be a power of two above 1, got {self.grid}.")
        if self.max_leaves < 1 or self.rays < 1:
            raise ValueError("`max_leaves` and `rays` must be at least 1.")
        if not all(0 < share < 1 for share in self.refine_at):
            raise ValueError(f"`refine_at` must hold shares in (0, 1), got {self.refine_at}.")
