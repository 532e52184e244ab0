"""From features to colors: what decompositions without a basis for colors of their own share.

A linear map without bias reduces the components to a few features, and a small network turns these
and the direction of view into a color. Reference: Chen et al., "TensoRF", 2022, section 4.3; here
directions enter as spherical harmonics and the layers are half as wide, for two cores.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from splats.sh import sh_basis

_DEGREE = 2
"""Of the harmonics of the direction."""


class ColorNetwork(nn.Module):
    """sRGB of features seen along directions."""

    def __init__(self, features: int, width: int, *, generator: torch.Generator) -> None:
        """
        Args:
            features: Numbers per sample.
            width: Hidden units of both layers.
            generator: Draws the weights.
        """
        super().__init__()
        inputs = features + (_DEGREE + 1) ** 2
        sizes = ((inputs, width), (width, width), (width, 3))
        self.layers = nn.ModuleList(nn.Linear(size, after) for size, after in sizes)
        with torch.no_grad():
            for layer, (size, _) in zip(self.layers, sizes, strict=True):
                limit = (6 / size) ** 0.5
                nn.init.uniform_(layer.weight, -limit, limit, generator=generator)  # pyright: ignore[reportArgumentType]
                nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
            self.layers[-1].weight.mul_(0.1)  # pyright: ignore[reportCallIssue]

    def forward(
        self, features: Float[Tensor, "S F"], directions: Float[Tensor, "S 3"]
    ) -> Float[Tensor, "S 3"]:
        """Colors in [0, 1]."""
        x = torch.cat([features, sh_basis(_DEGREE, directions)], dim=-1)
        first, second, last = self.layers
        return torch.sigmoid(last(relu(second(relu(first(x))))))


def basis_matrix(
    components: int, features: int, *, generator: torch.Generator
) -> Float[Tensor, "C F"]:
    """A start of the linear map from components to features, uniform as PyTorch's layers are."""
    limit = components**-0.5
    return (2 * torch.rand(components, features, generator=generator) - 1) * limit
