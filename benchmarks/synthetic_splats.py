"""A scene of any size that compresses like a trained one, for the speed of file formats."""

from __future__ import annotations

import torch

from splats.gaussians import Gaussians


def synthetic_scene(count: int) -> Gaussians:
    """Gaussians on a bumpy sphere with smooth harmonics, as compressible as a trained scene."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    directions = torch.nn.functional.normalize(normal(count, 3), dim=1)
    radius = 1 + 0.2 * torch.sin(5 * directions).sum(dim=1, keepdim=True)
    smooth = torch.sin(3 * directions @ normal(3, 48)).reshape(count, 16, 3)
    return Gaussians(
        means=radius * directions + 0.01 * normal(count, 3),
        quats=torch.nn.functional.normalize(normal(count, 4), dim=1),
        log_scales=-5 + 0.7 * normal(count, 3),
        logit_opacities=2 * normal(count),
        sh0=(smooth[:, :1] + 0.1 * normal(count, 1, 3)).contiguous(),
        shN=0.1 * smooth[:, 1:] + 0.03 * normal(count, 15, 3),
    )
