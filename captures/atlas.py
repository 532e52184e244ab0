"""Textures over the charts of solids: where each texel lies, and what lies between texels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .raycast import Faces, Scalars, Solid


@dataclass(frozen=True, eq=False)
class Atlas:
    """How many texels each chart face has, and where they are stored."""

    columns: Int[np.ndarray, "faces"]
    """Texels along u of each face."""
    rows: Int[np.ndarray, "faces"]
    """Texels along v of each face."""

    @classmethod
    def of(cls, solid: Solid, density: float) -> Atlas:
        """About `density` texels per scene unit on every face of `solid`."""
        sizes = np.ceil(density * np.array(solid.face_sizes)).astype(np.int64)
        return cls(*np.maximum(sizes, 2).T)

    @property
    def starts(self) -> Int[np.ndarray, "faces"]:
        """Storage index of each face's first texel."""
        return np.concatenate([[0], np.cumsum(self.columns * self.rows)[:-1]])

    def texel_centers(self) -> tuple[Faces, Scalars, Scalars]:
        """Chart coordinates of all texels in storage order."""
        counts = self.columns * self.rows
        faces = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(counts.sum()) - self.starts[faces]
        row, column = np.divmod(number, self.columns[faces])
        u, v = (column + 0.5) / self.columns[faces], (row + 0.5) / self.rows[faces]
        return faces, u.astype(np.float32), v.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Texture:
    """D channels on the texels of an atlas."""

    atlas: Atlas
    """Where the texels lie."""
    texels: Float[np.ndarray, "T D"]
    """Values in storage order."""

    def sample(self, faces: Faces, u: Scalars, v: Scalars) -> Float[np.ndarray, "D N"]:
        """Bilinear samples at chart coordinates, clamped at the edges of each face."""
        columns, rows = self.atlas.columns[faces], self.atlas.rows[faces]
        x = np.clip(u * columns - 0.5, 0, columns - 1.001).astype(np.float32)
        y = np.clip(v * rows - 0.5, 0, rows - 1.001).astype(np.float32)
        left, top = x.astype(np.int64), y.astype(np.int64)
        a, b = (x - left)[:, None], (y - top)[:, None]
        corner = self.atlas.starts[faces] + top * columns + left
        upper = self.texels[corner] * (1 - a) + self.texels[corner + 1] * a
        below = corner + columns
        lower = self.texels[below] * (1 - a) + self.texels[below + 1] * a
        return (upper * (1 - b) + lower * b).T
