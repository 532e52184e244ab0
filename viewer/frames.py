"""One picture for the browser: rendering in strips, channels to colors, depth for compositing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from captures import Cameras, Channel, Renderable, RenderOutput
from captures.colormaps import depth_limits, turbo

from .camera import crop_rows

ViewChannel = Literal["Color", "Depth", "Alpha"]

FAR = 167.0
"""Largest depth, world units, that the browser's 24-bit depth pictures hold."""


@dataclass(frozen=True)
class Frame:
    """What is sent to a browser."""

    image: np.ndarray
    """[H, W, 3] uint8 sRGB."""
    depth: np.ndarray | None
    """[H', W'] float32 z-depth, `FAR` where nothing is hit; None to draw everything over it."""


def render_in_strips(
    renderable: Renderable,
    cameras: Cameras,
    *,
    channels: Sequence[Channel],
    background: Float[Tensor, "3"],
    strips: int = 1,
    keep_going: Callable[[], bool] = lambda: True,
) -> RenderOutput | None:
    """Render one camera in horizontal strips, or None once `keep_going` says so between two."""
    edges = [round(index * cameras.height / strips) for index in range(strips + 1)]
    parts: list[RenderOutput] = []
    for top, bottom in pairwise(edges):
        if parts and not keep_going():
            return None
        strip = cameras if strips == 1 else crop_rows(cameras, top, bottom)
        with torch.no_grad():
            parts.append(renderable.render(strip, channels=channels, background=background))

    def joined(name: Channel) -> Tensor | None:
        if name not in channels:
            return None
        return torch.cat([part.channel(name).detach().float().cpu() for part in parts], dim=1)

    return RenderOutput(rgb=joined("rgb"), alpha=joined("alpha"), depth=joined("depth"))


def channels_for(channel: ViewChannel, *, with_depth: bool) -> tuple[Channel, ...]:
    """What has to be rendered to show `channel`, and depth to composite with if asked for."""
    if channel == "Depth" or with_depth:
        return ("rgb", "alpha", "depth")
    return ("alpha",) if channel == "Alpha" else ("rgb",)


def colorize(
    output: RenderOutput, channel: ViewChannel, background: Float[Tensor, "3"]
) -> Float[Tensor, "H W 3"]:
    """One channel of the first camera as colors in [0, 1]; near depths are red, far ones blue."""
    if channel == "Alpha":
        return output.channel("alpha")[0].expand(-1, -1, 3).clamp(0, 1)
    if channel == "Color":
        return output.channel("rgb")[0].clamp(0, 1)
    depth, alpha = output.channel("depth")[0, ..., 0], output.channel("alpha")[0].clamp(0, 1)
    low, high = depth_limits(depth, alpha[..., 0])
    colors = turbo(1 - (depth - low) / max(high - low, 1e-6))
    return torch.lerp(background.expand_as(colors), colors, alpha)


def compositing_depth(output: RenderOutput) -> np.ndarray | None:
    """Depth at half resolution for the browser to draw cameras and points behind the scene."""
    if output.depth is None or output.alpha is None:
        return None
    depth = torch.where(output.alpha[0] > 0.5, output.depth[0], FAR)[::2, ::2, 0]
    return depth.clamp(0, FAR).numpy()


def to_bytes(image: Float[Tensor, "H W 3"]) -> np.ndarray:
    """[H, W, 3] uint8 of colors in [0, 1]."""
    return (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
