"""The signed distance of a mesh, by a sign that can be trusted or by a shell that needs none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from .bvh import MeshIndex
from .flood import Flood

Mode = Literal["solid", "shell"]

VOTES = 7
"""Rays per point of the parity estimate; odd."""


@dataclass(frozen=True)
class SignedDistance:
    """Distance to a normalized mesh, negative inside.

    "solid": inside is where the winding number differs from zero by more than a half, so that
    overlapping parts unite, inverted parts count, and opposite shells leave cavities.
    "shell": the surface is thickened by `eps` to both sides, and what a flood from outside does
    not reach is filled.
    """

    index: MeshIndex
    """The mesh."""
    mode: Mode
    """How the sign comes about."""
    eps: float = 0.0
    """Half the thickness of a shell, box units; 0 for solids."""
    flood: Flood | None = None
    """What is inside of a shell."""

    def __call__(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Signed distances at box points, float32."""
        distances = self.index.closest(points).distances
        if self.flood is None:
            return np.where(winding_inside(self.index, points), -distances, distances)
        inside = self.flood.contains(points) & (distances > self.eps)
        return np.where(inside, -distances, distances) - np.float32(self.eps)


def winding_inside(index: MeshIndex, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
    """First estimate of inside: |winding number| > 1/2."""
    return np.abs(index.winding(points)) > 0.5


def parity_inside(
    index: MeshIndex, points: Float[np.ndarray, "n 3"], *, votes: int = VOTES
) -> Bool[np.ndarray, "n"]:
    """Second estimate of inside, independent of orientation: most of `votes` rays cross the
    surface an odd number of times."""
    directions = ray_directions(votes)
    odd = sum((index.crossings(points, d) % 2).astype(np.int32) for d in directions)
    return np.asarray(2 * odd > votes)


def ray_directions(count: int) -> Float[np.ndarray, "count 3"]:
    """Unit vectors spread over the sphere (Fibonacci), turned away from the coordinate planes."""
    i = np.arange(count) + 0.5
    z = 1 - 2 * i / count
    angle = np.pi * (1 + 5**0.5) * i
    ring = np.sqrt(1 - z**2)
    spread = np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)
    turn = np.linalg.qr(np.random.default_rng(20).standard_normal((3, 3)))[0]
    return spread @ turn.T
