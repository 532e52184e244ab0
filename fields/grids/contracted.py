"""Grids for scenes without end: they fill the unit cube that `contract` maps all space into."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..contract import Channel, Field
from ..contraction import CONTRACTED, contract, spacing, stretching, unspacing
from ..rays import Rays
from ..samplers import OccupancyGrid
from ..samples import Samples
from .contract import GridField

_NEAR, _FAR = 0.02, 100.0
"""Where rays begin and end, capture units: cameras are about one from the middle."""


class ContractedGrid(OccupancyGrid):
    """An `OccupancyGrid` of the contracted cube; its rays are in the world.

    Half of a ray's steps are equally long up to distance 1, half equally long in the inverse of the
    distance beyond, as in mip-NeRF 360; those in empty cells are left out.
    """

    def sample(self, rays: Rays, *, jitter: torch.Generator | None = None) -> Samples:
        """See `Sampler`."""
        low, high = spacing(torch.tensor([_NEAR, _FAR]))
        count = round(1 / self.step)
        edges = low + (high - low) * torch.arange(count + 1) / count
        shift = torch.zeros(len(rays), 1)
        if jitter is not None:
            shift = torch.rand(len(rays), 1, generator=jitter) - 0.5
        moved = (edges + shift * (high - low) / count).clamp(low, high)
        samples = Samples.from_edges(unspacing(moved))
        cells = contract(samples.points(rays)) * self.resolution
        x, y, z = cells.long().clamp(0, self.resolution - 1).unbind(1)
        return samples.kept(self.occupied[x, y, z])


@dataclass(frozen=True)
class ContractedField:
    """A `Field` of the world whose tensors lie in the contracted cube."""

    field: GridField
    """In the cube; its density is per unit of contracted length."""

    @property
    def channels(self) -> frozenset[Channel]:
        """See `Field`."""
        return self.field.channels

    def bounds(self) -> Float[Tensor, "2 3"]:
        """The cube around the cameras that keeps its shape; there is more around it."""
        return torch.tensor([[-1.0] * 3, [1.0] * 3])

    def density(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """See `Field`."""
        return _per_length(points) * self.field.density(contract(points))

    def color(
        self, points: Float[Tensor, "*batch 3"], directions: Float[Tensor, "*batch 3"]
    ) -> Float[Tensor, "*batch 3"]:
        """See `Field`."""
        return self.field.color(contract(points), directions)

    def density_and_color(
        self, points: Float[Tensor, "*batch 3"], directions: Float[Tensor, "*batch 3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3"]]:
        """See `Field`."""
        density, color = self.field.density_and_color(contract(points), directions)
        return _per_length(points) * density, color


def in_world(field: GridField, sampler: OccupancyGrid) -> Field:
    """The field as rays of the world meet it, by the grid that goes with it."""
    return ContractedField(field) if isinstance(sampler, ContractedGrid) else field


def _per_length(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    return CONTRACTED * stretching(points)
