"""The box that all shapes are brought into, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MARGIN = 0.95
"""The longest side of a normalized shape spans [-MARGIN, MARGIN] of the box [-1, 1]^3."""


@dataclass(frozen=True)
class Normalization:
    """p_box = scale * (p_source - center)."""

    center: tuple[float, float, float]
    """Middle of the bounding box, source units."""
    scale: float
    """Box units per source unit."""

    @classmethod
    def of(cls, points: Float[np.ndarray, "n 3"]) -> Normalization:
        """The one that brings `points` into the box.

        Raises:
            ValueError: No finite extent: no point, a single one, or coordinates that overflow.
        """
        if len(points) == 0 or not np.isfinite(points).all():
            raise ValueError("`points` must be finite and not empty; clean the mesh first.")
        low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
        half = 0.5 * high - 0.5 * low  # halves first: the difference of huge numbers may overflow
        extent = float(half.max())
        if not (extent > 0 and np.isfinite(MARGIN / extent)):
            raise ValueError(
                f"`points` must span a box of positive size, got a half side {extent}."
            )
        middle = 0.5 * low + 0.5 * high
        return cls((float(middle[0]), float(middle[1]), float(middle[2])), MARGIN / extent)

    def to_box(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Source points in the box, float64."""
        return (points - np.array(self.center)) * self.scale

    def to_source(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Box points in the source frame, float64."""
        return points / self.scale + np.array(self.center)
