"""Latents with places: three planes, a grid, and both together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from .batch import ShapeBatch
from .blocks import POSITION_CHANNELS, Head, fourier
from .config import ModelConfig
from .family import Family, Query
from .layouts import Part, layout_of
from .maps import (
    GridBlock,
    PlaneBlock,
    sample_grid,
    sample_planes,
    splat_grid,
    splat_planes,
)
from .octree_layers import OctreeAttention, OctreeBlock, OctreePool

FINEST_PLANES = 32
"""Cells per side of the planes that features enter; latents are decoded at twice their size, but no
finer than this."""
FINEST_GRID = 16
"""The same of grids."""


class Spatial(Family):
    """Planes, a grid or both, from points or from octree features.

    The three families differ in the parts of their layout and in where the features come from;
    "hybrid" takes those of the octree (Hyper3D), the others those of points (as in convolutional
    occupancy networks, Peng et al., ECCV 2020). A query adds three bilinear samples of the planes,
    joins the trilinear one of the grid, and goes through the head.

    Reference of the hybrid: Guo et al., "Hyper3D", arXiv 2503.10403: a high-resolution triplane for
    detail and a low-resolution grid for the explicit third dimension that planes lack.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layout = layout_of(config)
        self.source = (
            OctreeSource(config.width) if config.family == "hybrid" else PointSource(config.width)
        )
        self.coders = nn.ModuleList(
            PlaneCoder(part, config.width)
            if part.kind == "planes"
            else GridCoder(part, config.width // 2, config.width)
            for part in self.layout.parts
        )
        self.widths = tuple(int(coder.width) for coder in self.coders)  # pyright: ignore[reportArgumentType]
        self.head = Head(sum(self.widths) + 3, config.width)

    def encode(self, batch: ShapeBatch) -> list[Tensor]:
        """See `Family`."""
        found = self.source(batch)
        return [coder.encode(*found, len(batch)) for coder in self.coders]  # pyright: ignore[reportCallIssue]

    def decode(self, parts: list[Tensor]) -> Query:
        """See `Family`."""
        maps = [coder.decode(x) for coder, x in zip(self.coders, parts, strict=True)]  # pyright: ignore[reportCallIssue]

        def query(points: Tensor) -> Tensor:
            sampled = [
                (sample_planes if found.ndim == 5 and found.shape[1] == 3 else sample_grid)(
                    found, points
                )
                for found in maps
            ]
            return self.head(torch.cat([*sampled, points], dim=-1))

        return query


class PointSource(nn.Module):
    """Features of surface points, each by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(POSITION_CHANNELS + 3, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(
        self, batch: ShapeBatch
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n 3"], Int[Tensor, "n"]]:
        """Features, places and shapes of all points."""
        points = batch.points.flatten(0, 1)
        features = self.layers(torch.cat([fourier(points), batch.normals.flatten(0, 1)], dim=1))
        shapes = torch.arange(len(batch), device=points.device).repeat_interleave(
            batch.points.shape[1]
        )
        return features, points, shapes


class OctreeSource(nn.Module):
    """Features of octree cells one level above the leaves.

    Each of a cell's eight places has its own matrix, so that where the leaves lie is not lost.
    Convolution and attention mix the cells of the level above that, eight times fewer, and hand
    what they find back down.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool, self.pool_again = OctreePool(7, width), OctreePool(width, width)
        self.block = OctreeBlock(width)
        self.attention = nn.ModuleList(
            OctreeAttention(width, 4, shifted=shifted) for shifted in (False, True)
        )
        self.down = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(
        self, batch: ShapeBatch
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n 3"], Int[Tensor, "n"]]:
        """Features, places and shapes of all cells."""
        x, cells = self.pool(batch.leaves, batch.level)
        x = F.silu(x)
        y, above = self.pool_again(x, cells)
        y = self.block(y, above.neighbors())
        for attention in self.attention:
            y = attention(y, above)
        _, rows = cells.parent()
        x = x + self.down(y).index_select(0, rows)
        return x + self.out(self.norm(x)), cells.centers, cells.shapes


class PlaneCoder(nn.Module):
    """Features to the tokens of three planes, and tokens to planes that are sampled."""

    def __init__(self, part: Part, width: int) -> None:
        super().__init__()
        self.size, self.width = part.size, width
        self.enter = nn.Conv2d(width + 1, width, 1)
        halvings = (FINEST_PLANES // part.size).bit_length() - 1
        self.down = nn.ModuleList(nn.Conv2d(width, width, 2, stride=2) for _ in range(halvings))
        self.mix_down = nn.ModuleList(PlaneBlock(width) for _ in range(halvings + 1))
        doublings = int(part.size < FINEST_PLANES)
        self.mix_up = nn.ModuleList(PlaneBlock(width) for _ in range(1 + doublings))

    def encode(
        self, x: Tensor, points: Tensor, shapes: Tensor, batch: int
    ) -> Float[Tensor, "B tokens width"]:
        """Tokens, plane by plane and row by row."""
        planes = splat_planes(x, points, shapes, batch, FINEST_PLANES)
        made = self.enter(planes.flatten(0, 1))
        for down, mix in zip(self.down, self.mix_down[:-1], strict=True):
            made = down(mix(made.unflatten(0, (batch, 3))).flatten(0, 1))
        made = self.mix_down[-1](made.unflatten(0, (batch, 3))).flatten(0, 1)
        return made.unflatten(0, (batch, 3)).permute(0, 1, 3, 4, 2).flatten(1, 3)

    def decode(self, tokens: Float[Tensor, "B tokens width"]) -> Float[Tensor, "B 3 c R R"]:
        """Planes, finer than the tokens where those are coarse."""
        planes = tokens.unflatten(1, (3, self.size, self.size)).permute(0, 1, 4, 2, 3)
        for i, mix in enumerate(self.mix_up):
            if i > 0:
                finer = F.interpolate(
                    planes.flatten(0, 1), scale_factor=2.0, mode="bilinear", align_corners=False
                )
                planes = finer.unflatten(0, (len(tokens), 3))
            planes = mix(planes)
        return planes


class GridCoder(nn.Module):
    """Features to the tokens of a grid, and tokens to a grid that is sampled."""

    def __init__(self, part: Part, width: int, features: int) -> None:
        super().__init__()
        self.size, self.width = part.size, width
        self.enter = nn.Conv3d(features + 1, width, 1)
        halvings = (FINEST_GRID // part.size).bit_length() - 1
        self.down = nn.ModuleList(nn.Conv3d(width, width, 2, stride=2) for _ in range(halvings))
        self.mix_down = nn.ModuleList(GridBlock(width) for _ in range(halvings + 1))
        doublings = int(part.size < FINEST_GRID)
        self.mix_up = nn.ModuleList(GridBlock(width) for _ in range(1 + doublings))

    def encode(
        self, x: Tensor, points: Tensor, shapes: Tensor, batch: int
    ) -> Float[Tensor, "B tokens width"]:
        """Tokens, z fastest."""
        made = self.enter(splat_grid(x, points, shapes, batch, FINEST_GRID))
        for down, mix in zip(self.down, self.mix_down[:-1], strict=True):
            made = down(mix(made))
        made = self.mix_down[-1](made)
        return made.permute(0, 2, 3, 4, 1).flatten(1, 3)

    def decode(self, tokens: Float[Tensor, "B tokens width"]) -> Float[Tensor, "B c R R R"]:
        """A grid, finer than the tokens where those are coarse."""
        grid = tokens.unflatten(1, (self.size,) * 3).permute(0, 4, 1, 2, 3)
        for i, mix in enumerate(self.mix_up):
            if i > 0:
                grid = F.interpolate(grid, scale_factor=2.0, mode="trilinear", align_corners=False)
            grid = mix(grid)
        return grid
