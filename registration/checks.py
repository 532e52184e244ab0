"""What registration says about clouds that cannot be registered."""

from __future__ import annotations

import numpy as np

from .clouds import Cloud
from .units import Units

_UNITS_RATIO = 8.0
_FLAT = 1e-4


def check_points(cloud: Cloud, *, name: str) -> None:
    """Refuse clouds without three different points.

    Raises:
        ValueError: Fewer than 3 finite points, or all in one or two places.
    """
    if len(cloud) < 3:
        raise ValueError(f"`{name}` must hold at least 3 finite points, got {len(cloud)}.")
    spread = np.ptp(cloud.points, axis=0).max()
    if not spread > 1e-9 * np.abs(cloud.points).max():
        raise ValueError(f"`{name}` holds the same point {len(cloud)} times.")


def check_shape(units: tuple[Units, Units], *, with_scale: bool) -> str:
    """Why no pose can be found, or nothing."""
    for name, unit in zip(("source", "target"), units, strict=True):
        if unit.spread[1] < _FLAT * unit.spread[2]:
            return f"The points of the {name} lie on one line: turning about it changes nothing."
        if unit.spread[0] < _FLAT * unit.spread[2]:
            return f"The points of the {name} lie in one plane: shapes in it have no features."
    ratio = units[0].extent / units[1].extent
    if not with_scale and not 1 / _UNITS_RATIO < ratio < _UNITS_RATIO:
        return (
            f"The source is {ratio:.3g} times as large as the target: their units differ. Convert "
            "one of them, or ask for the scale (with_scale=True, --with-scale)."
        )
    return ""
