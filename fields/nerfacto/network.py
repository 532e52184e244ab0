"""The field of nerfacto: hash grids and small networks over contracted space."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from splats.hash_grid import HashGrid, HashGridLayout
from splats.sh import sh_basis

from ..contract import Channel
from ..contraction import contract, stretching
from .config import NerfactoConfig

_BASE = 16
_INITIAL_DENSITY = 1.0
"""Density that space starts with, per unit of contracted length: half of the light passes."""
_PROPOSAL_LEVELS, _PROPOSAL_WIDTH, _PROPOSAL_ENTRIES = 5, 16, 17
_LOOKS = 0.01
_DIRECTIONS = 16  # spherical harmonics up to degree 3, which nerfacto calls four levels


class _TruncatedExp(torch.autograd.Function):
    """exp, whose gradient is that of exp(15) beyond: one step cannot make it infinite."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.exp()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        return gradients[0] * values.clamp(-15, 15).exp()


def truncated_exp(values: Tensor) -> Tensor:
    """exp with a bounded gradient (Müller et al., "Instant NGP", 2022)."""
    return _TruncatedExp.apply(values)


def density_of(
    raw: Float[Tensor, "*batch"], points: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch"]:
    """Density per world unit from a network's output, which says it per unit of contracted length.

    Far intervals are hundreds of units long. Were the output a density per world unit, they would
    be opaque before anything has been learned, and each photo would be painted onto its own
    horizon, where no other camera sees it.
    """
    return _INITIAL_DENSITY * truncated_exp(raw) * stretching(points)


def grid_layout(levels: int, features: int, log2_entries: int, finest: int) -> HashGridLayout:
    """Levels from 16 to `finest` cells along a side, in equal ratios."""
    growth = (finest / _BASE) ** (1 / max(1, levels - 1))
    return HashGridLayout(levels, features, log2_entries, _BASE, growth)


class ProposalDensity(nn.Module):
    """A cheap density that says where the field is asked."""

    def __init__(self, finest: int, generator: torch.Generator) -> None:
        super().__init__()
        layout = grid_layout(_PROPOSAL_LEVELS, 2, _PROPOSAL_ENTRIES, finest)
        self.grid = HashGrid(layout, generator=generator)
        self.network = _layers(layout.num_outputs, _PROPOSAL_WIDTH, 1, 1, generator)

    def forward(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Density per world unit."""
        return density_of(self.network(self.grid(contract(points)))[..., 0], points)


class NerfactoField(nn.Module):
    """Density and color everywhere; a `fields.Field` in the capture's frame."""

    def __init__(self, config: NerfactoConfig, num_images: int, generator: torch.Generator) -> None:
        super().__init__()
        layout = grid_layout(config.levels, config.features, config.log2_entries, config.finest)
        self.far = config.far
        self.grid = HashGrid(layout, generator=generator)
        handed = config.geometry_features
        self.density_network = _layers(layout.num_outputs, config.width, 1, 1 + handed, generator)
        inputs = _DIRECTIONS + handed + config.appearance
        self.color_network = _layers(inputs, config.width, 2, 3, generator)
        # Alike at first, so that their mean stays among what the network has learned.
        looks = _LOOKS * torch.randn(num_images, config.appearance, generator=generator)
        self.looks = nn.Parameter(looks)
        """Embedding of each training photo's look."""

    @property
    def channels(self) -> frozenset[Channel]:
        """Density and color."""
        return frozenset(("density", "color"))

    def bounds(self) -> Float[Tensor, "2 3"]:
        """As far as rays are followed."""
        return torch.tensor([[-self.far] * 3, [self.far] * 3])

    def density(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """See `Field`."""
        return self._geometry(points)[0]

    def color(
        self, points: Float[Tensor, "*batch 3"], directions: Float[Tensor, "*batch 3"]
    ) -> Float[Tensor, "*batch 3"]:
        """See `Field`."""
        return self.density_and_color(points, directions)[1]

    def density_and_color(
        self,
        points: Float[Tensor, "*batch 3"],
        directions: Float[Tensor, "*batch 3"],
        images: Int64[Tensor, "*batch"] | None = None,
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3"]]:
        """See `Field`; with `images` as those training photos look, for -1 and without them as
        their mean does."""
        density, handed = self._geometry(points)
        mean = self.looks.mean(dim=0, keepdim=True)
        if images is None:
            look = mean.expand(*points.shape[:-1], -1)
        else:
            # index_select: the gradient of an index is added up in any order by several threads.
            table = torch.cat([self.looks, mean])
            rows = images.reshape(-1) % len(table)  # -1 is the mean, the last row
            look = table.index_select(0, rows).reshape(*images.shape, -1)
        toward = sh_basis(3, directions)
        inputs = torch.cat([toward, handed, look], dim=-1)
        return density, torch.sigmoid(self.color_network(inputs))

    def _geometry(self, points: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.density_network(self.grid(contract(points)))
        return density_of(raw[..., 0], points), raw[..., 1:]


def _layers(
    inputs: int, width: int, hidden: int, outputs: int, generator: torch.Generator
) -> nn.Sequential:
    """Linear layers with ReLU between; uniform start with variance 2 / inputs."""
    sizes = [inputs, *[width] * hidden, outputs]
    layers: list[nn.Module] = []
    for i, (size, after) in enumerate(pairwise(sizes)):
        layer = nn.Linear(size, after)
        with torch.no_grad():
            limit = (6 / size) ** 0.5 if i < hidden else (1 / size) ** 0.5
            layer.weight.uniform_(-limit, limit, generator=generator)
            layer.bias.zero_()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
