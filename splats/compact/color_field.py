"""View-dependent color of Gaussians from a hash grid and a small network.

Reference: Lee et al., "Compact 3D Gaussian Representation for Radiance Field", CVPR 2024, sec. 3.3.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..hash_grid import HashGrid, HashGridLayout
from ..sh import sh_basis

DIRECTION_DEGREE = 2
"""Where the direction enters the network: as its spherical harmonics up to this degree, 9 values.
"""
HARMONICS_DEGREE = 3
"""Degree of the harmonics that the network gives, or that stand for it in other files."""
_BAKED_DIRECTIONS = 128
_BAKED_ROWS = 2048


class ColorField(nn.Module):
    """Color of a place seen along a direction, as a coefficient of degree 0.

    In the paper the direction enters the network, which learns late what depends on a product of
    place and direction. A network that gives the `harmonics` of a place, which the direction
    multiplies, has that product from the start, and other files hold its colors without a fit.
    """

    def __init__(
        self,
        layout: HashGridLayout,
        *,
        hidden: int = 64,
        harmonics: bool = False,
        seed: int = 0,
    ) -> None:
        """Random weights of a network without biases (He et al. 2015), drawn by `seed`; those of
        the output are zero where it gives `harmonics`, which begin so everywhere else, too."""
        super().__init__()
        self.layout, self.hidden, self.harmonics = layout, hidden, harmonics
        generator = torch.Generator().manual_seed(seed)
        self.grid = HashGrid(layout, generator=generator)
        sizes = self.sizes
        self.weights = nn.ParameterList(
            nn.Parameter(
                math.sqrt(6 / columns) * (2 * torch.rand(rows, columns, generator=generator) - 1)
            )
            for rows, columns in sizes
        )
        if harmonics:
            nn.init.zeros_(self.weights[-1])

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the network's matrices."""
        inputs, outputs = self.layout.num_outputs, 3
        if self.harmonics:
            outputs *= (HARMONICS_DEGREE + 1) ** 2
        else:
            inputs += (DIRECTION_DEGREE + 1) ** 2
        return (self.hidden, inputs), (self.hidden, self.hidden), (outputs, self.hidden)

    def forward(
        self, places: Float[Tensor, "N 3"], directions: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N 3"]:
        """Coefficients of degree 0.

        Args:
            places: In the field's frame, where the scene's middle lies within the unit sphere.
            directions: Unit vectors from the camera.

        No gradient reaches the places.
        """
        return self._seen(self._features(places), directions)

    def _features(self, places: Float[Tensor, "N 3"]) -> Float[Tensor, "N LF"]:
        return self.grid(contracted(places.detach()) / 4 + 0.5)

    def _seen(
        self, features: Float[Tensor, "N LF"], directions: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N 3"]:
        if not self.harmonics:
            return self._network(torch.cat([features, sh_basis(DIRECTION_DEGREE, directions)], 1))
        basis = sh_basis(HARMONICS_DEGREE, directions)
        return torch.einsum("nkc,nk->nc", self._harmonics(features), basis / basis[:, :1])

    def _harmonics(self, features: Float[Tensor, "N LF"]) -> Float[Tensor, "N 16 3"]:
        return self._network(features).unflatten(1, (-1, 3))

    def _network(self, inputs: Float[Tensor, "N in"]) -> Float[Tensor, "N out"]:
        first, second, last = self.weights
        return (((inputs @ first.T).relu() @ second.T).relu()) @ last.T

    @torch.no_grad()
    def baked(self, places: Float[Tensor, "N 3"]) -> Float[Tensor, "N 16 3"]:
        """Harmonics of degree 3: those of the field, or nearest to it in the mean over all
        directions."""
        if self.harmonics:
            return self._harmonics(self._features(places))
        directions = _sphere(_BAKED_DIRECTIONS).to(places)
        basis = sh_basis(HARMONICS_DEGREE, directions)
        fit = torch.linalg.pinv(basis.double()).to(places) * basis[0, 0]
        rows = []
        for part in places.split(_BAKED_ROWS):
            features = self._features(part).repeat_interleave(len(directions), dim=0)
            seen = self._seen(features, directions.repeat(len(part), 1))
            rows.append(fit @ seen.reshape(len(part), len(directions), 3))
        return torch.cat(rows) if rows else places.new_zeros(0, basis.shape[1], 3)


def contracted(x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """All of space in the ball of radius 2: x within the unit ball, (2 - 1/|x|) x/|x| outside."""
    length = x.norm(dim=-1, keepdim=True).clamp(min=1)
    return (2 - 1 / length) * x / length


def _sphere(count: int) -> Float[Tensor, "count 3"]:
    """Unit vectors on a spiral, evenly spread."""
    i = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * i / count
    angle = math.pi * (1 + math.sqrt(5)) * i
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1).float()
