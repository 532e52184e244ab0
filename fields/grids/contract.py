"""What a field offers to be trained and written by the parts of this folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..contract import Channel
from ..samplers import OccupancyGrid
from ..shading import ColorNetwork

SHIFT = -5.5
"""Added to the density's feature: a field whose numbers are all zero is faint."""


class GridField(nn.Module, ABC):
    """A field whose density and colors come from tensors on nodes; a `fields.Field`.

    density = softplus(feature + shift) / unit, and a `ColorNetwork` turns features into colors.
    """

    KIND: ClassVar[str]
    """Name of the method and of the files' kind."""
    unit: float
    """Length that densities are counted in, world units."""
    network: ColorNetwork
    """From features to colors."""

    @property
    def channels(self) -> frozenset[Channel]:
        """Density and color."""
        return frozenset(("density", "color"))

    @property
    def num_parameters(self) -> int:
        """Numbers that are trained."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    @abstractmethod
    def num_primitives(self) -> int:
        """What the field counts itself in."""

    @abstractmethod
    def bounds(self) -> Float[Tensor, "2 3"]:
        """Corners of the box outside of which there is nothing."""

    @abstractmethod
    def density_feature(self, points: Float[Tensor, "S 3"]) -> tuple[Tensor, Any]:
        """What softplus makes a density of [S], and whatever `color_features` can go on with."""

    @abstractmethod
    def color_features(self, points: Float[Tensor, "S 3"], found: Any) -> Float[Tensor, "S F"]:
        """What the network makes colors of."""

    @abstractmethod
    def grids(self) -> list[nn.Parameter]:
        """Tensors [rows, ...] of which a step moves the rows that rays met."""

    @abstractmethod
    def sparsity(self) -> Tensor | None:
        """What the field's L1 term adds to the loss."""

    @abstractmethod
    def refined(self, stage: int, sampler: OccupancyGrid, random: torch.Generator) -> GridField:
        """The same field on the nodes of `stage`, from 1 on.

        Args:
            stage: How many times there were more nodes.
            sampler: Knows where something is seen.
            random: Draws what is new.
        """

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """All but the parameters, as JSON values."""

    @classmethod
    @abstractmethod
    def blank(cls, description: Mapping[str, Any]) -> GridField:
        """A field of a description whose parameters are yet to be loaded.

        Raises:
            ValueError: The description fits no field.
        """

    def decoded(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The parameters that a compressed file of this kind holds.

        Raises:
            ValueError: The arrays fit no such file.
        """
        raise ValueError(f"there are no compressed files of {self.KIND} fields, got {len(arrays)}.")

    # ------------------------------------------------------------------------------ as a `Field`

    def density(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """See `Field`."""
        flat = points.reshape(-1, 3)
        feature, found = self.density_feature(flat)
        return (self._inside(flat) * self.activated(feature, found)).view(points.shape[:-1])

    def color(
        self, points: Float[Tensor, "*batch 3"], directions: Float[Tensor, "*batch 3"]
    ) -> Float[Tensor, "*batch 3"]:
        """See `Field`."""
        return self.density_and_color(points, directions)[1]

    def density_and_color(
        self, points: Float[Tensor, "*batch 3"], directions: Float[Tensor, "*batch 3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3"]]:
        """See `Field`."""
        flat = points.reshape(-1, 3)
        feature, found = self.density_feature(flat)
        density = self._inside(flat) * self.activated(feature, found)
        color = self.network(self.color_features(flat, found), directions.reshape(-1, 3))
        return density.view(points.shape[:-1]), color.view(points.shape)

    def activated(self, feature: Float[Tensor, "S"], found: Any) -> Float[Tensor, "S"]:
        """Density per world unit of what `density_feature` found."""
        del found
        return softplus(feature + SHIFT) / self.unit

    def _inside(self, points: Tensor) -> Tensor:
        low, high = self.bounds().to(points)
        return ((points >= low) & (points <= high)).all(dim=-1)


def blank_generator() -> torch.Generator:
    """Draws what a file will replace."""
    return torch.Generator().manual_seed(0)
