"""A box of factors: density is the sum of its components, features a linear map of others.

Reference: Chen et al., "TensoRF: Tensorial Radiance Fields", 2022, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from ..grids.contract import GridField, blank_generator
from ..samplers import OccupancyGrid
from ..shading import ColorNetwork, basis_matrix
from ..tensors.vm import LINE_AXIS, PLANE_AXES
from .coding import expanded
from .config import TensorfConfig
from .factors import CpTensor, Factors, VmTensor

_MAX_NODES = 1 << 12
_LARGEST = 1 << 27
_SCALES = {"vm": 0.1, "cp": 0.2}
"""Standard deviation of the first numbers."""


class TensorfField(GridField):
    """Factors of density and color on the nodes of one box."""

    KIND = "tensorf"

    def __init__(
        self,
        config: TensorfConfig,
        box: Float[Tensor, "2 3"],
        unit: float,
        factors: tuple[Factors, Factors],
        *,
        generator: torch.Generator,
    ) -> None:
        """
        Args:
            config: Sizes.
            box: Corners of the box, world units.
            unit: Length that densities are counted in.
            factors: Of density and color.
            generator: Draws the color's network.
        """
        super().__init__()
        self.config, self.box, self.unit = config, box, unit
        self.densities, self.colors = factors
        start = basis_matrix(self.colors.num_components, config.features, generator=generator)
        self.basis = nn.Parameter(start)
        """From components to features."""
        self.network = ColorNetwork(config.features, config.width, generator=generator)

    @classmethod
    def drawn(
        cls,
        config: TensorfConfig,
        box: Float[Tensor, "2 3"],
        unit: float,
        *,
        generator: torch.Generator,
    ) -> TensorfField:
        """A field to begin a training with."""
        size, scale = node_counts(config.first_nodes, box), _SCALES[config.decomposition]
        density, color = (
            VmTensor.drawn(size, rank, scale, generator)
            if config.decomposition == "vm"
            else CpTensor.drawn(max(size), rank, scale, generator)
            for rank in config.ranks
        )
        return cls(config, box, unit, (density, color), generator=generator)

    @property
    def num_primitives(self) -> int:
        """Components of density and color."""
        return self.densities.num_components + self.colors.num_components

    def bounds(self) -> Float[Tensor, "2 3"]:
        """See `Field`."""
        return self.box

    def density_feature(self, points: Float[Tensor, "S 3"]) -> tuple[Tensor, Tensor]:
        """See `GridField`."""
        local = ((points - self.box[0]) / (self.box[1] - self.box[0])).clamp(0, 1)
        return self.densities.summed(local), local

    def color_features(self, points: Float[Tensor, "S 3"], found: Tensor) -> Float[Tensor, "S F"]:
        """See `GridField`."""
        return self.colors.components(found) @ self.basis

    def grids(self) -> list[nn.Parameter]:
        """See `GridField`."""
        return [*self.densities.parameters(), *self.colors.parameters()]

    def sparsity(self) -> Tensor | None:
        """See `GridField`."""
        weight = self.config.sparsity_weight
        return weight * self.densities.sparsity() if weight else None

    def refined(self, stage: int, sampler: OccupancyGrid, random: torch.Generator) -> TensorfField:
        """See `GridField`; the box shrinks to what is seen."""
        del random
        config, occupied = self.config, sampler.occupied_bounds()
        share = stage / len(config.upsample_at)
        nodes = config.first_nodes * (config.nodes / config.first_nodes) ** share
        box = torch.stack(
            [torch.maximum(occupied[0], self.box[0]), torch.minimum(occupied[1], self.box[1])]
        )
        size = node_counts(round(nodes), box)
        part = (box - self.box[0]) / (self.box[1] - self.box[0])
        factors = (self.densities.resampled(size, part), self.colors.resampled(size, part))
        grown = type(self)(config, box, self.unit, factors, generator=blank_generator())
        grown.basis.data.copy_(self.basis.data)
        grown.network.load_state_dict(self.network.state_dict())
        return grown

    def description(self) -> dict[str, Any]:
        """See `GridField`."""
        config = self.config
        return {
            "decomposition": config.decomposition,
            "size": list(self.densities.size),
            "box": self.box.tolist(),
            "unit": self.unit,
            "density_rank": config.ranks[0],
            "color_rank": config.ranks[1],
            "features": config.features,
            "width": config.width,
            "first_nodes": config.first_nodes,
            "nodes": config.nodes,
            "sparsity": config.sparsity_weight,
            "upsample_at": list(config.upsample_at),
        }

    @classmethod
    def blank(cls, description: Mapping[str, Any]) -> TensorfField:
        """See `GridField`."""
        values = dict(description)
        x, y, z = (int(n) for n in values.pop("size"))
        if not 2 <= min(x, y, z) <= max(x, y, z) <= _MAX_NODES:
            raise ValueError(f"`size` must be 2 to {_MAX_NODES} nodes, got {[x, y, z]}")
        box = torch.tensor(values.pop("box"), dtype=torch.float32).reshape(2, 3)
        unit = float(values.pop("unit"))
        values["upsample_at"] = tuple(values["upsample_at"])
        config = TensorfConfig(**values)
        if max(x, y, z) ** 2 * max(config.ranks) > _LARGEST:
            raise ValueError(f"{config.ranks} components of {[x, y, z]} nodes are too many")
        if config.decomposition == "vm":
            rows = [(x, y, z)[a] * (x, y, z)[b] for a, b in PLANE_AXES]
            lengths = [(x, y, z)[axis] for axis in LINE_AXIS]
            first, second = (
                VmTensor(
                    [torch.zeros(n, rank) for n in rows],
                    [torch.zeros(n, rank) for n in lengths],
                    (x, y, z),
                )
                for rank in config.ranks
            )
        else:
            first, second = (
                CpTensor.drawn(x, rank, 0.0, blank_generator()) for rank in config.ranks
            )
        return cls(config, box, unit, (first, second), generator=blank_generator())

    def decoded(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """See `GridField`."""
        shapes = {name: tuple(values.shape) for name, values in self.state_dict().items()}
        return expanded(arrays, shapes)


def node_counts(nodes: int, box: Float[Tensor, "2 3"]) -> tuple[int, int, int]:
    """Nodes along the axes of a box, equally far apart, about nodes^3 in all.

    Raises:
        ValueError: The box has no volume.
    """
    extent = (box[1] - box[0]).tolist()
    if not min(extent) > 0:
        raise ValueError(f"`box` must have a volume, got {box.tolist()}.")
    spacing = math.prod(extent) ** (1 / 3) / nodes
    x, y, z = (max(2, round(length / spacing)) for length in extent)
    return x, y, z
