"""The triangles of marching cubes, derived instead of typed in.

Corner c of a cell lies at (c & 1, c >> 1 & 1, c >> 2 & 1). On each of the six sides the surface
crosses edges whose ends differ in sign; crossings are joined so that inside corners of a side that
touch only diagonally are kept apart. The rule looks at one side alone, so two cells that share it
agree and the surface has no holes. The joins form loops, which are cut into triangles.

Reference: Lorensen and Cline, "Marching Cubes", SIGGRAPH 1987; the rule for ambiguous sides is the
fixed one of Montani et al., "A modified look-up table for implicit disambiguation", 1994.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Int

EDGES = tuple(
    (corner, corner | 1 << axis)
    for axis in range(3)
    for corner in range(8)
    if not corner >> axis & 1
)
"""The 12 edges by their corners: four along x, four along y, four along z."""

_SIDES = tuple(
    tuple(
        (direction << axis) | (u << (axis + 1) % 3) | (v << (axis + 2) % 3)
        for u, v in (
            ((0, 0), (1, 0), (1, 1), (0, 1)) if direction else ((0, 0), (0, 1), (1, 1), (1, 0))
        )
    )
    for axis in range(3)
    for direction in (0, 1)
)
"""Corners of each side, counter-clockwise seen from outside the cell."""


@cache
def triangle_table() -> tuple[Int[np.ndarray, "256 T 3"], Int[np.ndarray, "256"]]:
    """Edges of the triangles of each case, -1 behind the last, and how many there are.

    Bit c of a case is set where corner c lies inside. Triangles are counter-clockwise seen from
    outside.
    """
    found = [_triangles(case) for case in range(256)]
    most = max(map(len, found))
    table = np.full((256, most, 3), -1, np.int8)
    for case, triangles in enumerate(found):
        table[case, : len(triangles)] = np.reshape(triangles, (-1, 3))
    return table, np.array([len(triangles) for triangles in found])


def _triangles(case: int) -> list[tuple[int, int, int]]:
    follows = {}
    for side in _SIDES:
        inside = [bool(case >> corner & 1) for corner in side]
        for k in range(4):
            # Each run of inside corners is cut off by one segment, from where a walk around the
            # side leaves the inside to where it entered.
            if inside[k] and not inside[(k + 1) % 4]:
                entry = k
                while inside[entry - 1]:
                    entry -= 1
                follows[_edge(side[k], side[(k + 1) % 4])] = _edge(side[entry - 1], side[entry])
    triangles = []
    while follows:
        loop = [next(iter(follows))]
        while (after := follows.pop(loop[-1])) != loop[0]:
            loop.append(after)
        triangles += [(loop[0], loop[k + 1], loop[k]) for k in range(1, len(loop) - 1)]
    return triangles


def _edge(first: int, second: int) -> int:
    return EDGES.index((min(first, second), max(first, second)))
