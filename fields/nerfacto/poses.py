"""Small corrections of the training cameras' poses."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..rays import Rays


class PoseDeltas(nn.Module):
    """A rotation and a translation per photo in world axes (SO(3) x R^3), zero at first.

    Held-out cameras have none; a penalty keeps the corrections from drifting together.
    Reference: Tancik et al., "Nerfstudio", 2023, section 4.
    """

    def __init__(self, num_images: int) -> None:
        super().__init__()
        self.rotations = nn.Parameter(torch.zeros(num_images, 3))
        """Rotation vectors, radians."""
        self.translations = nn.Parameter(torch.zeros(num_images, 3))
        """World units."""

    def forward(self, rays: Rays, images: Int64[Tensor, "R"]) -> Rays:
        """The rays of photos `images`, turned about their cameras' centers and shifted.

        What all photos have in common is left out: it would move the scene away from the cameras
        that are held out, and explain nothing.
        """
        turns = self.rotations - self.rotations.mean(dim=0)
        shifts = self.translations - self.translations.mean(dim=0)
        # index_select: the gradient of an index is added up in any order by several threads.
        turned = rotated(turns.index_select(0, images), rays.directions)
        moved = rays.origins + shifts.index_select(0, images)
        return Rays(moved, turned, rays.depth_scales)

    def penalty(self) -> Float[Tensor, ""]:
        """0.01 times the mean length of the translations plus 0.001 that of the rotations."""
        # The root of a small number more: the length has no gradient at zero.
        lengths = [(t.square().sum(1) + 1e-12).sqrt() for t in (self.translations, self.rotations)]
        return 1e-2 * lengths[0].mean() + 1e-3 * lengths[1].mean()


def rotated(
    vectors: Float[Tensor, "N 3"], directions: Float[Tensor, "N 3"]
) -> Float[Tensor, "N 3"]:
    """Directions turned by rotation vectors (Rodrigues' formula), smooth at zero."""
    angle = (vectors.square().sum(dim=-1, keepdim=True) + 1e-20).sqrt()
    axis_sine = torch.sinc(angle / torch.pi)  # sin(a) / a
    half = torch.sinc(angle / (2 * torch.pi))
    once = torch.linalg.cross(vectors, directions)
    twice = torch.linalg.cross(vectors, once)
    return directions + axis_sine * once + 0.5 * half**2 * twice
