"""Small parts that several families share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

OCTAVES = 6
"""Frequencies π 2^k per axis: the finest wave is 1/32 of the box's half side, an octree leaf."""
POSITION_CHANNELS = 3 + 6 * OCTAVES


def fourier(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n c"]:
    """Points with sines and cosines of each axis."""
    scales = torch.pi * 2.0 ** torch.arange(OCTAVES, device=points.device, dtype=points.dtype)
    angles = (points[..., None] * scales).flatten(-2)
    return torch.cat([points, angles.sin(), angles.cos()], dim=-1)


def farthest_points(points: Float[Tensor, "B N 3"], count: int) -> Int[Tensor, "B count"]:
    """Rows of `count` points, each the farthest from those before (Eldar et al., 1997).

    Starts at the point farthest from the mean, so that the choice does not depend on the order of
    the points.
    """
    if not 1 <= count <= points.shape[1]:
        raise ValueError(f"`count` must be in [1, {points.shape[1]}], got {count}.")
    shapes = torch.arange(len(points), device=points.device)
    next_row = (points - points.mean(1, keepdim=True)).square().sum(-1).argmax(1)
    gaps = torch.full(points.shape[:2], torch.inf, device=points.device)
    rows = []
    for _ in range(count):
        rows.append(next_row)
        chosen = points[shapes, next_row][:, None]
        gaps = torch.minimum(gaps, (points - chosen).square().sum(-1))
        next_row = gaps.argmax(1)
    return torch.stack(rows, dim=1)


def take_rows(x: Float[Tensor, "B N d"], rows: Int[Tensor, "B M"]) -> Float[Tensor, "B M d"]:
    """Rows of each batch item."""
    return x.gather(1, rows[..., None].expand(-1, -1, x.shape[-1]))


class Attention(nn.Module):
    """Queries attend to a context; with no context, to themselves. Pre-norm, with residual."""

    def __init__(self, width: int, heads: int, *, context_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_context = nn.Linear(context_width or width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "B M d"],
        context: Float[Tensor, "B N e"] | None = None,
        mask: Tensor | None = None,
    ) -> Float[Tensor, "B M d"]:
        """`x` plus what it attends to; `mask` is True where it may."""
        normed = self.norm(x)
        query = self._split(self.to_query(normed))
        key, value = self.to_context(normed if context is None else context).chunk(2, dim=-1)
        mixed = F.scaled_dot_product_attention(
            query, self._split(key), self._split(value), attn_mask=mask
        )
        return x + self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two layers, the first gated by GELU (GEGLU), with residual."""

    def __init__(self, width: int, *, factor: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * factor * width)
        self.down = nn.Linear(factor * width, width)

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """`x` and its update."""
        value, gate = self.up(self.norm(x)).chunk(2, dim=-1)
        return x + self.down(value * F.gelu(gate))


class Block(nn.Module):
    """Self-attention and feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.feed = Attention(width, heads), FeedForward(width)

    def forward(self, x: Float[Tensor, "B M d"]) -> Float[Tensor, "B M d"]:
        """The tokens after both."""
        return self.feed(self.attention(x))


class Head(nn.Module):
    """Features of query points to a truncated signed distance: the same for every family."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.out = nn.Linear(width, 1)
        nn.init.zeros_(self.out.weight)  # VecSetX: start from "nothing here"
        nn.init.constant_(self.out.bias, 0.5)

    def forward(self, features: Float[Tensor, "B Q c"]) -> Float[Tensor, "B Q"]:
        """Distances in units of the truncation, negative inside."""
        return self.out(self.layers(features))[..., 0]
