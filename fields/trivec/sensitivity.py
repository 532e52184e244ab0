"""How much each number of a field moves the picture.

The expected squared change of a pixel per squared change of a number is the diagonal of JᵀJ, with J
the Jacobian of the pixels. Gradients of pixels under random signs estimate it: in the square of
such a gradient the products of different pixels cancel on average (Hutchinson, 1990).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..rays import Rays
from .field import TrivecField
from .renderer import TrivecRenderer


@dataclass(frozen=True)
class Sensitivity:
    """Squared change of a pixel channel per squared change of a number, mean over rays."""

    vectors: Float[Tensor, "N 3 D R"]
    """Of the vectors."""
    densities: Float[Tensor, "N R"]
    """Of the density's weights."""
    colors: Float[Tensor, "N K 3 R"]
    """Of the colour's weights."""


@torch.enable_grad()
def measure_sensitivity(
    field: TrivecField,
    batch: Callable[[], Rays],
    *,
    rounds: int = 24,
    step: float,
    generator: torch.Generator,
) -> Sensitivity:
    """The sensitivity over `rounds` batches of rays, such as those of the training photos."""
    names = ("vectors", "densities", "colors")
    held = {name: getattr(field, name).detach().clone().requires_grad_() for name in names}
    renderer = TrivecRenderer(replace(field, **held), step=step)
    squares = [torch.zeros_like(item) for item in held.values()]
    rays_seen = 0
    for _ in range(rounds):
        rays = batch()
        found, _ = renderer.trace(rays, torch.rand(len(rays), generator=generator))
        # On a random background, so that opacity matters where colours happen to agree with it.
        seen = found.over(torch.rand(len(rays), 3, generator=generator))
        signs = torch.randint(0, 2, seen.shape, generator=generator).float() * 2 - 1
        gradients = torch.autograd.grad((seen * signs).sum(), list(held.values()))
        for i, gradient in enumerate(gradients):
            squares[i] += gradient.square()
        rays_seen += 3 * len(rays)
    return Sensitivity(*(total / rays_seen for total in squares))
