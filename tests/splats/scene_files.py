"""Scenes for the tests of file formats: random ones, and the values that break encoders."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from captures.rotations import quats_to_rotmats
from splats.gaussians import Gaussians


def random_gaussians(count: int, degree: int, *, seed: int = 0) -> Gaussians:
    """Gaussians of plausible sizes, opacities and colors with unit quaternions."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(
        means=2 * draw(count, 3),
        quats=torch.nn.functional.normalize(draw(count, 4), dim=1),
        log_scales=0.8 * draw(count, 3) - 4,
        logit_opacities=2 * draw(count),
        sh0=draw(count, 1, 3),
        shN=0.2 * draw(count, (degree + 1) ** 2 - 1, 3),
    )


def extreme_gaussians(degree: int) -> Gaussians:
    """64 Gaussians with huge and tiny scales, far means, full and no opacity, any quaternions."""
    scene = random_gaussians(64, degree, seed=7)
    scene.means[:4] = torch.tensor([[5000.0, -5000.0, 1e-6], [0, 0, 0], [1e5, 0, 0], [-2048, 0, 0]])
    scene.log_scales[:2] = torch.tensor([[-math.inf] * 3, [-80.0] * 3])
    scene.log_scales[2:5] = torch.tensor([[20.0] * 3, [0.0, -math.inf, -20.0], [20.0, -20.0, 0.0]])
    scene.logit_opacities[:4] = torch.tensor([math.inf, -math.inf, 40.0, -90.0])
    scene.quats[:4] = -torch.eye(4)
    scene.quats[4] = torch.tensor([1e-20, 2e-20, 0.0, 0.0])
    scene.quats[5] = torch.tensor([3e9, 0.0, 0.0, -4e9])
    scene.quats[6] = 0
    scene.sh0[:3] = torch.tensor([50.0, -50.0, 3.5]).view(3, 1, 1)
    return scene


def covariances(gaussians: Gaussians) -> Tensor:
    """[N, 3, 3] float64, which no choice of axes or sign of a quaternion changes."""
    quats = gaussians.quats.double()
    zero = quats.norm(dim=1, keepdim=True) == 0
    rotations = quats_to_rotmats(torch.where(zero, quats.new_tensor([1.0, 0, 0, 0]), quats))
    axes = rotations * gaussians.log_scales.double().exp()[:, None]
    return axes @ axes.mT


def assert_alike(
    a: Gaussians, b: Gaussians, *, tolerance: float = 1e-6, shape: float | None = None
) -> None:
    """Equal up to float32 of activated values: relative in lengths, absolute in opacities.

    Args:
        a: Some Gaussians.
        b: Others, in the same order.
        tolerance: What rounding explains.
        shape: Largest difference of covariances against their size; None: ten times `tolerance`.
    """
    torch.testing.assert_close(a.means, b.means, rtol=tolerance, atol=tolerance)
    first, second = covariances(a), covariances(b)
    size = first.diagonal(dim1=1, dim2=2).amax(dim=1)[:, None, None].clamp(min=1e-60)
    assert float(((first - second) / size).abs().max()) < (shape or 10 * tolerance)
    torch.testing.assert_close(
        a.logit_opacities.sigmoid(), b.logit_opacities.sigmoid(), rtol=0, atol=tolerance
    )
    torch.testing.assert_close(a.sh0, b.sh0, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(a.shN, b.shN, rtol=0, atol=2 * tolerance)
