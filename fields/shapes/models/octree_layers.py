"""Convolution, pooling and attention on octree cells, in plain torch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..octree import Level
from .blocks import FeedForward


class OctreeConv(nn.Module):
    """A 3 x 3 x 3 convolution over the occupied cells of one level; empty neighbors count 0.

    Gathers each cell's 27 neighbors and multiplies once. Equals a dense convolution whose input is
    zero at empty cells, read at the occupied ones.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(27 * channels_in)
        self.weight = nn.Parameter(
            torch.empty(27 * channels_in, channels_out).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.zeros(channels_out))

    def forward(
        self, x: Float[Tensor, "n c"], neighbors: Int[Tensor, "n 27"]
    ) -> Float[Tensor, "n d"]:
        """Features of the same cells; `neighbors` is that of their `Level`."""
        padded = torch.cat([x, x.new_zeros(1, x.shape[1])])  # row -1: no such cell
        # index_select, because the backward pass of indexing with a table sorts it.
        gathered = padded.index_select(0, neighbors.flatten() % len(padded))
        return torch.addmm(self.bias, gathered.reshape(len(x), -1), self.weight)


class OctreeBlock(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_one, self.norm_two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.one, self.two = OctreeConv(width, width), OctreeConv(width, width)

    def forward(
        self, x: Float[Tensor, "n c"], neighbors: Int[Tensor, "n 27"]
    ) -> Float[Tensor, "n c"]:
        """Features of the same cells."""
        made = self.one(F.silu(self.norm_one(x)), neighbors)
        return x + self.two(F.silu(self.norm_two(made)), neighbors)


class OctreePool(nn.Module):
    """Children to their parent: each of the eight places has its own matrix (a stride-2
    convolution)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(8 * channels_in)
        self.weight = nn.Parameter(
            torch.empty(8 * channels_in, channels_out).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.zeros(channels_out))

    def forward(self, x: Float[Tensor, "n c"], level: Level) -> tuple[Float[Tensor, "m d"], Level]:
        """Features of the parents, and their level."""
        parents, rows = level.parent()
        slots = rows * 8 + (level.keys & 7)
        gathered = x.new_zeros(len(parents.keys) * 8, x.shape[1]).index_copy(0, slots, x)
        return torch.addmm(self.bias, gathered.reshape(len(parents.keys), -1), self.weight), parents


class OctreeAttention(nn.Module):
    """Attention inside windows of cells that follow one another in Morton order.

    Every second layer shifts the windows by half, so that their borders move. Each shape has
    windows of its own, which makes its features independent of its company in the batch.

    Reference: Wang, "OctFormer: Octree-based Transformers for 3D Point Clouds", SIGGRAPH 2023.
    """

    def __init__(self, width: int, heads: int, *, window: int = 64, shifted: bool = False) -> None:
        super().__init__()
        self.heads, self.window, self.shifted = heads, window, shifted
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.place = nn.Linear(3, width)
        self.feed = FeedForward(width)

    def forward(self, x: Float[Tensor, "n c"], level: Level) -> Float[Tensor, "n c"]:
        """Features of the same cells."""
        slots, count = self._slots(level)
        window, channels = self.window, x.shape[1]
        made = self.qkv(self.norm(x + self.place(level.centers.to(x))))
        padded = made.new_zeros(count * window, 3 * channels).index_copy(0, slots, made)
        query, key, value = padded.reshape(
            count, window, 3, self.heads, channels // self.heads
        ).permute(2, 0, 3, 1, 4)
        taken = torch.zeros(count * window, dtype=torch.bool, device=x.device)
        taken[slots] = True
        mask = taken.reshape(count, 1, 1, window)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.feed(x + self.out(mixed.transpose(1, 2).reshape(-1, channels)[slots]))

    def _slots(self, level: Level) -> tuple[Int[Tensor, "n"], int]:
        """Place of each cell in the row of all windows, and the number of windows."""
        lead = self.window // 2 if self.shifted else 0
        shapes = level.shapes
        sizes = torch.bincount(shapes, minlength=level.num_shapes)
        windows = torch.div(sizes + lead + self.window - 1, self.window, rounding_mode="floor")
        first = torch.cumsum(sizes, 0) - sizes
        first_window = torch.cumsum(windows, 0) - windows
        within = torch.arange(len(shapes), device=shapes.device) - first[shapes]
        return first_window[shapes] * self.window + lead + within, int(windows.sum())
