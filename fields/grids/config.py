"""Settings that all fields with an occupancy grid have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class GridConfig:
    """Shares are of the budget."""

    rays: int = 2048
    """Rays per step."""
    steps: int = 256
    """Steps of a ray across the scene's box."""
    cells: int = 128
    """Cells of the occupancy grid along each side of the box, a power of two."""
    features: int = 27
    """Numbers that the color network takes of each sample."""
    width: int = 64
    """Hidden units of the color network."""
    upsample_at: tuple[float, ...] = (0.07, 0.1, 0.14, 0.2, 0.28)
    """Shares after which there are more nodes; learning rates begin again."""
    background: Literal["auto", "black", "white", "random"] = "auto"
    """Behind the field; auto takes random colors for photos with alpha, else black."""
    lr: float = 0.02
    """Learning rate of the tensors."""
    lr_network: float = 2e-3
    """Learning rate of the color network and of the linear maps before it."""
    lr_final: float = 0.05
    """Share of the learning rates after as many steps as the budget has; log-linear between."""

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("rays", "steps", "features", "width")}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        if self.cells < 2 or self.cells & (self.cells - 1):
            raise ValueError(f"`cells` must be a power of two above 1, got {self.cells}.")
        shares = self.upsample_at
        if not all(0 < share < 1 for share in shares) or list(shares) != sorted(shares):
            raise ValueError(f"`upsample_at` must be ascending shares in (0, 1), got {shares}.")
