"""Packed samples: the intervals of all rays in one flat list."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .rays import Rays


@dataclass(frozen=True)
class Samples:
    """S intervals on R rays, in order along each ray, the rays one after the other."""

    starts: Float[Tensor, "S"]
    """Distances at which the intervals begin."""
    ends: Float[Tensor, "S"]
    """Distances at which they end, at or before the next one's start."""
    offsets: Int64[Tensor, "R1"]
    """Samples of ray r are `offsets[r]` to `offsets[r + 1]`; R + 1 numbers."""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def num_rays(self) -> int:
        """R."""
        return len(self.offsets) - 1

    @cached_property
    def ray_indices(self) -> Int64[Tensor, "S"]:
        """Which ray each sample is on."""
        counts = self.offsets.diff()
        rays = torch.arange(self.num_rays, device=self.offsets.device)
        return rays.repeat_interleave(counts, output_size=len(self))

    @property
    def lengths(self) -> Float[Tensor, "S"]:
        """Lengths of the intervals."""
        return self.ends - self.starts

    @property
    def middles(self) -> Float[Tensor, "S"]:
        """Distances of the intervals' middles."""
        return 0.5 * (self.starts + self.ends)

    def points(self, rays: Rays) -> Float[Tensor, "S 3"]:
        """World positions of the middles."""
        return rays.origins.index_select(0, self.ray_indices) + (
            self.middles[:, None] * self.directions(rays)
        )

    def directions(self, rays: Rays) -> Float[Tensor, "S 3"]:
        """Direction of each sample's ray."""
        # index_select: the gradient of an index is added up in any order by several threads.
        return rays.directions.index_select(0, self.ray_indices)

    def kept(self, keep: Tensor) -> Samples:
        """The samples where the flags `keep` [S] are True."""
        running = torch.cat([keep.new_zeros(1, dtype=torch.long), keep.long().cumsum(0)])
        return Samples(self.starts[keep], self.ends[keep], running[self.offsets])

    @classmethod
    def from_edges(cls, edges: Float[Tensor, "R E"]) -> Samples:
        """As many consecutive intervals on every ray, between the E distances of each."""
        rays, count = edges.shape[0], edges.shape[1] - 1
        offsets = torch.arange(rays + 1, device=edges.device) * count
        return cls(edges[:, :-1].flatten(), edges[:, 1:].flatten(), offsets)
