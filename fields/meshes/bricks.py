"""Values on a sparse lattice, kept in bricks of 8 x 8 x 8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

SIDE = 8
"""Lattice points along each side of a brick."""

_OFFSET = 1 << 20  # brick coordinates lie within +-2^20, three of which fit into 63 bits


@dataclass(frozen=True, eq=False)
class Bricks:
    """B bricks of a lattice; what lies in no brick is unknown."""

    origin: Float[np.ndarray, "3"]
    """Position of lattice point (0, 0, 0), float64."""
    spacing: float
    """Distance of neighboring lattice points."""
    coordinates: Int[np.ndarray, "B 3"]
    """Of each brick, in bricks; sorted by `brick_keys`, each once."""
    values: Float[np.ndarray, "B 8 8 8"]
    """At the lattice points, indexed by x, y, z; NaN where unknown. float32."""
    colors: Float[np.ndarray, "B 8 8 8 3"] | None = None
    """sRGB at the same points."""

    def find(self, wanted: Int[np.ndarray, "N 3"]) -> Int[np.ndarray, "N"]:
        """Rows of bricks by their coordinates; -1 for those that are not there."""
        if not len(self.coordinates):
            return np.full(len(wanted), -1)
        known, keys = brick_keys(self.coordinates), brick_keys(wanted)
        place = np.searchsorted(known, keys).clip(max=len(known) - 1)
        return np.where(known[place] == keys, place, -1)

    def positions(self, rows: np.ndarray | slice = slice(None)) -> Float[np.ndarray, "N 8 8 8 3"]:
        """World positions of the lattice points of some bricks, float64."""
        local = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), -1)
        lattice = self.coordinates[rows][:, None, None, None] * SIDE + local
        return self.origin + self.spacing * lattice

    def padded(self, rows: slice) -> Float[np.ndarray, "N 9 9 9"]:
        """Values of some bricks with the first layers of their neighbors behind the last; NaN
        where there is no neighbor."""
        chosen = self.coordinates[rows]
        out = np.full((len(chosen), SIDE + 1, SIDE + 1, SIDE + 1), np.nan, np.float32)
        out[:, :SIDE, :SIDE, :SIDE] = self.values[rows]
        for step in range(1, 8):
            offset = np.array([step & 1, step >> 1 & 1, step >> 2 & 1])
            found = self.find(chosen + offset)
            there = np.flatnonzero(found >= 0)
            source = tuple(slice(0, 1) if o else slice(None) for o in offset)
            target = tuple(slice(SIDE, None) if o else slice(0, SIDE) for o in offset)
            out[(there, *target)] = self.values[(found[there], *source)]
        return out


def brick_keys(coordinates: Int[np.ndarray, "N 3"]) -> Int[np.ndarray, "N"]:
    """Numbers that order bricks by x, then y, then z.

    Raises:
        ValueError: More than two million bricks along one axis.
    """
    moved = coordinates.astype(np.int64) + _OFFSET
    if len(moved) and not 0 <= moved.min() <= moved.max() < 2 * _OFFSET:
        raise ValueError("the lattice is too fine for the size of the scene; take larger cells.")
    return (moved[:, 0] << 42) | (moved[:, 1] << 21) | moved[:, 2]


def sorted_bricks(coordinates: Int[np.ndarray, "N 3"]) -> Int[np.ndarray, "B 3"]:
    """Every brick once, in order."""
    keys = np.unique(brick_keys(coordinates))
    mask = 2 * _OFFSET - 1
    return np.stack([keys >> 42, keys >> 21 & mask, keys & mask], 1) - _OFFSET
