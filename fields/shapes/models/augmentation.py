"""The 48 symmetries of the box, which turn one training shape into many."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from ..octree import morton_cells, morton_keys
from ..samples import OCTREE_DEPTH, ShapeSamples


@dataclass(frozen=True)
class Symmetry:
    """p' = signs * p[axes]."""

    axes: tuple[int, int, int]
    """A permutation."""
    signs: tuple[int, int, int]
    """Each 1 or -1."""

    @classmethod
    def random(cls, rng: np.random.Generator) -> Symmetry:
        """Any of the 48."""
        axes, signs = rng.permutation(3), rng.choice([-1, 1], 3)
        return cls(
            (int(axes[0]), int(axes[1]), int(axes[2])),
            (int(signs[0]), int(signs[1]), int(signs[2])),
        )

    def points(self, p: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Points or normals."""
        return p[:, list(self.axes)] * np.array(self.signs, p.dtype)

    def shape(self, shape: ShapeSamples) -> ShapeSamples:
        """A shape with everything that has a direction turned, octree included."""
        turned = {
            name: self.points(getattr(shape, name))
            for name in ("sharp", "sharp_normals", "near", "volume")
        }
        return replace(self.seen(shape), **turned)

    def seen(self, shape: ShapeSamples) -> ShapeSamples:
        """The same for what encoders see alone: surface and octree."""
        side = 2**OCTREE_DEPTH
        cells = morton_cells(torch.from_numpy(shape.octree_keys)).numpy()[:, list(self.axes)]
        cells = np.where(np.array(self.signs) < 0, side - 1 - cells, cells)
        keys = morton_keys(torch.from_numpy(cells)).numpy()
        order = np.argsort(keys)
        features = shape.octree_features
        features = np.concatenate(
            [self.points(features[:, :3]), features[:, 3:4], self.points(features[:, 4:])], axis=1
        )
        return replace(
            shape,
            surface=self.points(shape.surface),
            surface_normals=self.points(shape.surface_normals),
            octree_keys=keys[order],
            octree_features=features[order],
        )
