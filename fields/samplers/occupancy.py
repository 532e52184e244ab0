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

from ..kernels import native_for
from ..rays import Rays
from ..samples import Samples

_AT_ONCE = 1 << 17
"""Cells looked at together."""


class OccupancyGrid:
    """A `Sampler`; starts with every cell occupied, or with those that it is given."""

    def __init__(
        self,
        bounds: Float[Tensor, "2 3"],
        *,
        step: float,
        resolution: int = 128,
        min_alpha: float = 1e-3,
        possible: Bool[Tensor, "x y z"] | None = None,
        decay: float = 0.95,
    ) -> None:
        """
        Args:
            bounds: Corners of the box, world units.
            step: Length of an interval, world units.
            resolution: Cells along each axis.
            min_alpha: Opacity over one step below which a cell is empty.
            possible: Cells that are occupied at first, [resolution] * 3; all when None.
            decay: Factor of what was seen before, at each update.
        """
        if not bool((bounds[1] > bounds[0]).all()) or not step > 0:
            raise ValueError(
                f"`bounds` must have a positive size and `step` must be positive, got "
                f"{bounds.tolist()} and {step}."
            )
        self.bounds, self.step, self.resolution = bounds.float(), step, resolution
        self.min_density, self._decay = min_alpha / step, decay
        if possible is None:
            possible = torch.ones((resolution,) * 3, dtype=torch.bool, device=bounds.device)
        self._take(torch.where(possible, torch.inf, 0.0))

    def _take(self, densities: Float[Tensor, "x y z"]) -> None:
        """Densities as known from now on."""
        self.densities = densities
        above = (densities >= self.min_density).float()
        near = F.max_pool3d(above[None, None], 3, stride=1, padding=1)[0, 0]
        self.occupied: Bool[Tensor, "x y z"] = near > 0
        """Cells worth a sample: those above the threshold and their neighbours."""

    def occupied_bounds(self) -> Float[Tensor, "2 3"]:
        """Corners of the smallest box that holds all occupied cells; `bounds` without any."""
        cells = self.occupied.nonzero()
        if len(cells) == 0:
            return self.bounds
        size = (self.bounds[1] - self.bounds[0]) / self.resolution
        return self.bounds[0] + torch.stack([cells.amin(0), cells.amax(0) + 1]) * size

    def dense_points(self) -> Float[Tensor, "P 3"]:
        """Centers of the cells above the threshold, without their neighbours."""
        size = (self.bounds[1] - self.bounds[0]) / self.resolution
        return self.bounds[0] + ((self.densities >= self.min_density).nonzero() + 0.5) * size

    @torch.no_grad()
    def update(
        self, density: Callable[[Tensor], Tensor], *, generator: torch.Generator | None = None
    ) -> None:
        """Look at one random position in every cell that is occupied."""
        size = (self.bounds[1] - self.bounds[0]) / self.resolution
        cells = self.occupied.nonzero()
        old = self.densities
        new = torch.where(old.isinf(), 0, old * self._decay)
        for start in range(0, len(cells), _AT_ONCE):
            part = cells[start : start + _AT_ONCE]
            shift = torch.rand(part.shape, generator=generator).to(size)
            seen = density(self.bounds[0] + (part + shift) * size)
            x, y, z = part.unbind(1)
            new[x, y, z] = torch.maximum(new[x, y, z], seen)
        self._take(new)

    def sample(self, rays: Rays, *, jitter: torch.Generator | None = None) -> Samples:
        """Intervals of length `step` whose middles lie in occupied cells."""
        near, far = rays.box_span(self.bounds)
        counts = ((far - near) / self.step).ceil().clamp(min=0).long()
        shift = torch.zeros(len(near))
        if jitter is not None:
            shift = torch.rand(len(near), generator=jitter) - 0.5
        first = near + shift.to(near) * self.step
        native = native_for(first, rays.origins, rays.directions)
        if native is None:
            return self._twin(rays, first, counts)
        return self._march(native, rays, first, counts)

    def _march(self, native: Any, rays: Rays, first: Tensor, counts: Tensor) -> Samples:
        """The steps from distances `first` [R] on, `counts` [R] of each ray, in the kernel."""
        low, high = self.bounds
        box = torch.cat([low, self.resolution / (high - low)])
        held = [item.contiguous() for item in (rays.origins, rays.directions, first, counts)]
        held += [self.occupied.view(torch.uint8), box]
        inputs = (*(item.data_ptr() for item in held), self.resolution, self.step)
        found = torch.empty_like(counts)
        native.march_count(*inputs, found.data_ptr(), len(rays))
        offsets = torch.cat([found.new_zeros(1), found.cumsum(0)])
        begins = torch.empty(int(offsets[-1]))
        native.march_write(*inputs, offsets.data_ptr(), begins.data_ptr(), len(rays))
        return Samples(begins, begins + self.step, offsets)

    def _twin(self, rays: Rays, first: Tensor, counts: Tensor) -> Samples:
        """`_march` in plain torch: the definition of the kernel."""
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        total = int(offsets[-1])
        skipped = offsets[:-1].repeat_interleave(counts, output_size=total)
        number = torch.arange(total, device=first.device) - skipped
        begin = first.repeat_interleave(counts, output_size=total) + number * self.step
        begin = begin.clamp(min=0)
        samples = Samples(begin, begin + self.step, offsets)
        low, high = self.bounds.to(begin)
        cells = (samples.points(rays) - low) * (self.resolution / (high - low))
        cells = cells.long().clamp(0, self.resolution - 1)
        return samples.kept(self.occupied[cells[:, 0], cells[:, 1], cells[:, 2]])

    def state_dict(self) -> dict[str, Any]:
        """The densities seen so far."""
        return {"densities": self.densities}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self._take(state["densities"].to(self.bounds.device).clone())
