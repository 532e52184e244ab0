"""The synthetic scene of the rasterizer suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splats import rasterization
from splats.rasterizer.selection import BackendName


@dataclass(frozen=True)
class Scene:
    """Gaussians in front of one camera and the size of its image."""

    means: Float[Tensor, "N 3"]
    """Centers."""
    quats: Float[Tensor, "N 4"]
    """Rotations, not normalized."""
    scales: Float[Tensor, "N 3"]
    """Standard deviations."""
    opacities: Float[Tensor, " N"]
    """In (0, 1)."""
    colors: Float[Tensor, "N 16 3"]
    """Spherical harmonics of degree 3."""
    viewmats: Float[Tensor, "1 4 4"]
    """World to camera."""
    Ks: Float[Tensor, "1 3 3"]
    """Intrinsics."""
    width: int
    """Image width in pixels."""
    height: int
    """Image height in pixels."""

    @property
    def leaves(self) -> list[Tensor]:
        """What a training step asks gradients of."""
        return [self.means, self.quats, self.scales, self.opacities, self.colors]

    def render(self, *, backend: BackendName = "auto") -> tuple[Tensor, Tensor, dict[str, Any]]:
        """What `rasterization` returns: image [1, H, W, 3], alpha and `meta`."""
        return rasterization(
            self.means,
            self.quats,
            self.scales,
            self.opacities,
            self.colors,
            self.viewmats,
            self.Ks,
            self.width,
            self.height,
            sh_degree=3,
            backend=backend,
        )

    def forward(self, *, backend: BackendName = "auto") -> None:
        """The image alone."""
        with torch.no_grad():
            self.render(backend=backend)

    def forward_backward(self, *, backend: BackendName = "auto") -> None:
        """The image and the gradients of its sum."""
        image, _, _ = self.render(backend=backend)
        torch.autograd.grad(image.sum(), self.leaves)


def random_scene(count: int, width: int, height: int, *, size: float) -> Scene:
    """Gaussians that fill the view at depths 2 to 8, equally large in the image at every depth.

    Args:
        count: Number of Gaussians.
        width: Image width in pixels.
        height: Image height in pixels.
        size: Median standard deviation as a share of the depth, times 4.
    """
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    focal = 0.9 * width
    depth = 2 + 6 * torch.rand(count, 1, generator=random)
    field = torch.tensor([width / focal, height / focal])
    xy = (torch.rand(count, 2, generator=random) - 0.5) * 1.1 * field * depth
    scene = Scene(
        means=torch.cat([xy, depth], dim=1),
        quats=normal(count, 4),
        scales=size * depth / 4 * torch.exp(0.6 * normal(count, 3)),
        opacities=torch.sigmoid(2 * normal(count)),
        colors=0.3 * normal(count, 16, 3),
        viewmats=torch.eye(4)[None],
        Ks=torch.tensor([[[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]]]),
        width=width,
        height=height,
    )
    for leaf in scene.leaves:
        leaf.requires_grad_()
    return scene
