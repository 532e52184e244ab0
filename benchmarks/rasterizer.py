"""Time of the rasterizer's forward and backward pass on a synthetic scene."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from splats import rasterization

from .metric import Metric
from .timing import measure


def run(*, quick: bool) -> list[Metric]:
    """Forward and forward + backward at SH degree 3 on scattered small splats."""
    count, width, height = (3_000, 160, 120) if quick else (300_000, 1280, 720)
    leaves = _scene(count)
    viewmats = torch.eye(4)[None]
    Ks = torch.tensor([[[width, 0.0, width / 2], [0.0, width, height / 2], [0.0, 0.0, 1.0]]])

    def forward() -> Tensor:
        colors, _, _ = rasterization(
            **leaves, viewmats=viewmats, Ks=Ks, width=width, height=height, sh_degree=3
        )
        return colors

    def forward_backward() -> None:
        forward().sum().backward()

    with torch.no_grad():
        ahead = measure(forward)
    both = measure(forward_backward)
    size = f"{count} Gaussians, {width}x{height}"
    return [
        Metric(f"forward, best ({size})", 1e3 * ahead.best, "ms", "lower", 0.25),
        Metric(f"forward, median ({size})", 1e3 * ahead.median, "ms", "lower", 0.5),
        Metric(f"forward + backward, best ({size})", 1e3 * both.best, "ms", "lower", 0.25),
        Metric("forward + backward / forward", both.best / ahead.best, "x", "lower", 0.15, 3.5),
    ]


def _scene(count: int) -> dict[str, Tensor]:
    """Gaussians on rippled sheets in front of the camera, log-normal scales, mixed opacities."""
    random = torch.Generator().manual_seed(0)
    xy = 2 * torch.rand(count, 2, generator=random) - 1
    depth = 2 + torch.randint(0, 4, (count,), generator=random) + 0.2 * torch.sin(9 * xy[:, 0])
    scales = 0.01 * torch.exp(0.6 * torch.randn(count, 3, generator=random))
    values = {
        "means": torch.cat([xy * depth[:, None] * 0.6, depth[:, None]], dim=1),
        "quats": torch.randn(count, 4, generator=random),
        "scales": scales / math.sqrt(count / 100_000),
        "opacities": torch.rand(count, generator=random),
        "colors": 0.3 * torch.randn(count, 16, 3, generator=random),
    }
    return {name: value.requires_grad_() for name, value in values.items()}
