"""Scenes with known pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from captures import Cameras, Channel, RenderOutput


class RaySphere:
    """A unit sphere at the origin, colored by its normal: every pixel follows from its ray."""

    num_bytes = 16

    def __init__(self) -> None:
        self.fails = False

    def render(
        self,
        cameras: Cameras,
        *,
        channels: Sequence[Channel] = ("rgb", "alpha", "depth"),
        background: Float[Tensor, "3"] | None = None,
    ) -> RenderOutput:
        if self.fails:
            raise RuntimeError("no more light")
        rows = torch.arange(cameras.height, dtype=torch.float64) + 0.5
        columns = torch.arange(cameras.width, dtype=torch.float64) + 0.5
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        rays = torch.stack([x, y, torch.ones_like(x)], -1) @ torch.linalg.inv(cameras.Ks[0]).T
        directions = rays @ cameras.camtoworlds[0, :3, :3].T
        origin = cameras.positions[0]
        a, b = (directions**2).sum(-1), directions @ origin
        root = b * b - a * (origin @ origin - 1)
        hit = root > 0
        depth = torch.where(hit, (-b - root.clamp(min=0).sqrt()) / a, 0.0)
        normals = origin + depth[..., None] * directions
        sky = torch.zeros(3) if background is None else background
        rgb = torch.where(hit[..., None], 0.5 + 0.5 * normals, sky.double())
        return RenderOutput(
            rgb[None].float(), hit[None, ..., None].float(), depth[None, ..., None].float()
        )

    def bounds(self) -> Float[Tensor, "2 3"]:
        return torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
