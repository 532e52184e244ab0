"""What encoders see of a batch of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..octree import Level, batched
from ..samples import ShapeSamples


@dataclass(frozen=True)
class ShapeBatch:
    """Surface points and octree leaves of B shapes."""

    points: Float[Tensor, "B N 3"]
    """Points on the surface, box units."""
    normals: Float[Tensor, "B N 3"]
    """Outward unit normals."""
    level: Level
    """Leaves of all octrees."""
    leaves: Float[Tensor, "m 7"]
    """Their features."""

    def __len__(self) -> int:
        return len(self.points)

    def to(self, device: torch.device) -> ShapeBatch:
        """The same batch on another device."""
        level = Level(self.level.depth, self.level.keys.to(device), self.level.num_shapes)
        return ShapeBatch(
            self.points.to(device), self.normals.to(device), level, self.leaves.to(device)
        )


def batch_of(
    shapes: Sequence[ShapeSamples],
    num_points: int,
    *,
    rng: np.random.Generator | None = None,
) -> ShapeBatch:
    """A batch of `num_points` surface points each.

    Args:
        shapes: At least one.
        num_points: Points per shape; drawn with repetition where a shape has fewer.
        rng: Draws the points; None takes evenly spaced ones, which makes encoding repeatable.
    """
    if not shapes:
        raise ValueError("`shapes` must hold at least one shape.")
    points, normals = [], []
    for shape in shapes:
        count = len(shape.surface)
        if rng is not None:
            rows = rng.integers(0, count, num_points)
        else:
            rows = (np.arange(num_points) * count) // num_points
        points.append(torch.from_numpy(shape.surface[rows].astype(np.float32)))
        normals.append(torch.from_numpy(shape.surface_normals[rows].astype(np.float32)))
    leaves = [torch.from_numpy(shape.octree_features.astype(np.float32)) for shape in shapes]
    return ShapeBatch(
        torch.stack(points),
        torch.stack(normals),
        batched([shape.level for shape in shapes]),
        torch.cat(leaves),
    )
