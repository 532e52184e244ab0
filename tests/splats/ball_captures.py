"""A small capture of colored Gaussians, seen from a ring around them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captures import Cameras, Capture, Similarity, View
from splats.gaussians import Gaussians
from splats.scene import SplatScene

SIZE = 40
"""Pixels on a side."""


def cameras(count: int = 8) -> Cameras:
    """A ring around the origin, at distance 3."""
    viewmats = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    for i in range(count):
        angle = 2 * math.pi * i / count
        turn = [
            [math.cos(angle), 0, -math.sin(angle)],
            [0, 1, 0],
            [math.sin(angle), 0, math.cos(angle)],
        ]
        viewmats[i, :3, :3] = torch.tensor(turn, dtype=torch.float64)
        viewmats[i, 2, 3] = 3
    K = torch.tensor([[SIZE, 0, SIZE / 2], [0, SIZE, SIZE / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras(viewmats, K.repeat(count, 1, 1), SIZE, SIZE)


def ball_capture() -> Capture:
    """Pictures of a ball of colored Gaussians, in a frame that is not that of their source."""
    generator = torch.Generator().manual_seed(0)
    scene = SplatScene(
        Gaussians(
            means=0.4 * torch.randn(200, 3, generator=generator),
            quats=torch.randn(200, 4, generator=generator),
            log_scales=torch.full((200, 3), -2.3),
            logit_opacities=torch.full((200,), 2.0),
            sh0=torch.randn(200, 1, 3, generator=generator),
            shN=torch.zeros(200, 0, 3),
        )
    )
    output = scene.render(cameras(), channels=("rgb", "alpha"))
    assert output.rgb is not None and output.alpha is not None
    alphas = output.alpha[..., 0].clamp(0, 1)
    views = [View(i, a) for i, a in zip(output.rgb.clamp(0, 1), alphas, strict=True)]
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    shift = torch.tensor([5.0, -2.0, 1.0], dtype=torch.float64)
    return Capture(
        source=Path("ring"),
        cameras=cameras(),
        image_names=tuple(f"{i}.png" for i in range(8)),
        train=(1, 2, 3, 5, 6, 7),
        test=(0, 4),
        split="every 4th",
        load_view=views.__getitem__,
        T_source_capture=Similarity(scale=2.5, rotation=turn, translation=shift),
    )


def image(scene: Any, view: Cameras) -> Tensor:
    """Colors [H, W, 3] from one camera."""
    rendered = scene.render(view, channels=("rgb",)).rgb
    assert rendered is not None
    return rendered[0]
