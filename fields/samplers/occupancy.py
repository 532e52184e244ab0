"""An occupancy grid: equal steps through the cells of a box that hold something.

Each cell keeps an upper estimate of its density, which decays unless it is seen again; cells above
a threshold, and their neighbours, are occupied. Reference: Müller et al., "Instant neural graphics
primitives", 2022, appendix C; here with the dilation that keeps thin structures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ..rays import Rays
from ..samples import Samples

_DECAY = 0.95


class OccupancyGrid:
    """A `Sampler`; starts with every cell occupied."""

    def __init__(
        self,
        bounds: Float[Tensor, "2 3"],
        *,
        step: float,
        resolution: int = 128,
        min_alpha: float = 1e-3,
    ) -> None:
        """
        Args:
            bounds: Corners of the box, world units.
            step: Length of an interval, world units.
            resolution: Cells along each axis.
            min_alpha: Opacity over one step below which a cell is empty.
        """
        if not bool((bounds[1] > bounds[0]).all()) or not step > 0:
            raise ValueError(
                f"`bounds` must have a positive size and `step` must be positive, got "
                f"{bounds.tolist()} and {step}."
            )
        self.bounds, self.step, self.resolution = bounds.float(), step, resolution
        self.min_density = min_alpha / step
        self.densities = torch.full((resolution,) * 3, torch.inf, device=bounds.device)

    @property
    def occupied(self) -> Bool[Tensor, "x y z"]:
        """Cells worth a sample."""
        above = (self.densities >= self.min_density).float()
        return F.max_pool3d(above[None, None], 3, stride=1, padding=1)[0, 0] > 0

    @torch.no_grad()
    def update(
        self, density: Callable[[Tensor], Tensor], *, generator: torch.Generator | None = None
    ) -> None:
        """Look at one random position in every cell."""
        size = (self.bounds[1] - self.bounds[0]) / self.resolution
        axis = torch.arange(self.resolution, device=size.device)
        for x in range(self.resolution):
            cells = torch.stack(torch.meshgrid(axis[x : x + 1], axis, axis, indexing="ij"), -1)
            shift = torch.rand(cells.shape, generator=generator).to(size)
            seen = density(self.bounds[0] + (cells + shift) * size)
            old = self.densities[x : x + 1]
            old = torch.where(old.isinf(), 0, old * _DECAY)
            self.densities[x : x + 1] = torch.maximum(old, seen)

    def sample(self, rays: Rays, *, jitter: torch.Generator | None = None) -> Samples:
        """Intervals of length `step` whose middles lie in occupied cells."""
        near, far = rays.box_span(self.bounds)
        counts = ((far - near) / self.step).ceil().clamp(min=0).long()
        shift = torch.zeros(len(near))
        if jitter is not None:
            shift = torch.rand(len(near), generator=jitter) - 0.5
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        total = int(offsets[-1])
        first = offsets[:-1].repeat_interleave(counts, output_size=total)
        number = torch.arange(total, device=near.device) - first
        ray = torch.arange(len(near), device=near.device).repeat_interleave(
            counts, output_size=total
        )
        begin = (near[ray] + (number + shift.to(near)[ray]) * self.step).clamp(min=0)
        samples = Samples(begin, begin + self.step, offsets)
        low, high = self.bounds.to(begin)
        cells = (samples.points(rays) - low) / (high - low) * self.resolution
        cells = cells.long().clamp(0, self.resolution - 1)
        return samples.kept(self.occupied[cells[:, 0], cells[:, 1], cells[:, 2]])

    def state_dict(self) -> dict[str, Any]:
        """The densities seen so far."""
        return {"densities": self.densities}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.densities = state["densities"].to(self.bounds.device).clone()
