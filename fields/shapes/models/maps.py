"""Planes and grids: points in, convolutions, points out.

Planes are [B, 3, c, R, R] for (x, y), (x, z) and (y, z), the later axis last; grids [B, c, R, R, R]
for (x, y, z). A cell's value stands at its middle.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

AXES = ((0, 1), (0, 2), (1, 2))
"""Which coordinates each plane keeps."""


def splat_planes(
    x: Float[Tensor, "n c"],
    points: Float[Tensor, "n 3"],
    shapes: Int[Tensor, "n"],
    batch: int,
    size: int,
) -> Float[Tensor, "B 3 c+1 R R"]:
    """Mean of the features in each cell of three planes; the last channel is log(1 + count)."""
    cells = _cells(points, size)
    planes = [
        _mean(x, (shapes * size + cells[:, a]) * size + cells[:, b], batch * size**2)
        for a, b in AXES
    ]
    stacked = torch.stack([p.reshape(batch, size, size, -1) for p in planes], dim=1)
    return stacked.permute(0, 1, 4, 2, 3)


def splat_grid(
    x: Float[Tensor, "n c"],
    points: Float[Tensor, "n 3"],
    shapes: Int[Tensor, "n"],
    batch: int,
    size: int,
) -> Float[Tensor, "B c+1 R R R"]:
    """Mean of the features in each cell of a grid; the last channel is log(1 + count)."""
    i, j, k = _cells(points, size).T
    made = _mean(x, ((shapes * size + i) * size + j) * size + k, batch * size**3)
    return made.reshape(batch, size, size, size, -1).permute(0, 4, 1, 2, 3)


def sample_planes(
    planes: Float[Tensor, "B 3 c R R"], points: Float[Tensor, "B Q 3"]
) -> Float[Tensor, "B Q c"]:
    """Sum of the three bilinear samples at each point."""
    batch, _, channels = planes.shape[:3]
    places = torch.stack([points[..., [b, a]] for a, b in AXES], dim=1).flatten(0, 1)
    found = F.grid_sample(
        planes.flatten(0, 1), places[:, None], align_corners=False, padding_mode="border"
    )
    return found.reshape(batch, 3, channels, -1).sum(1).transpose(1, 2)


def sample_grid(
    grid: Float[Tensor, "B c R R R"], points: Float[Tensor, "B Q 3"]
) -> Float[Tensor, "B Q c"]:
    """The trilinear sample at each point."""
    places = points.flip(-1)[:, None, None]
    found = F.grid_sample(grid, places, align_corners=False, padding_mode="border")
    return found[:, :, 0, 0].transpose(1, 2)


class PlaneBlock(nn.Module):
    """A residual block on three planes that share weights and exchange means along their axes.

    Each plane gets the other two reduced to the axis they have in common with it, after the
    3D-aware convolution of Rodin (Wang et al., CVPR 2023, section 3.2).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_one, self.norm_two = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.one = nn.Conv2d(width, width, 3, padding=1)
        self.others = nn.Conv2d(2 * width, width, 1)
        self.two = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, planes: Float[Tensor, "B 3 c R R"]) -> Float[Tensor, "B 3 c R R"]:
        """The planes after it."""
        batch = len(planes)
        x = planes.flatten(0, 1)
        normed = F.silu(self.norm_one(x))
        made = self.one(normed) + self.others(_exchanged(normed.unflatten(0, (batch, 3))))
        return (x + self.two(F.silu(self.norm_two(made)))).unflatten(0, (batch, 3))


def _exchanged(planes: Float[Tensor, "B 3 c R R"]) -> Float[Tensor, "b d R R"]:
    """For each plane, the means of the other two along the axis that it lacks, [3 B, 2 c, R, R]."""
    xy, xz, yz = planes.unbind(1)
    size = xy.shape[-1]

    def rows(line: Tensor) -> Tensor:  # a function of the first axis
        return line[..., None].expand(-1, -1, -1, size)

    def columns(line: Tensor) -> Tensor:  # a function of the second axis
        return line[..., None, :].expand(-1, -1, size, -1)

    mixed = [
        torch.cat([rows(xz.mean(3)), columns(yz.mean(3))], dim=1),
        torch.cat([rows(xy.mean(3)), columns(yz.mean(2))], dim=1),
        torch.cat([rows(xy.mean(2)), columns(xz.mean(2))], dim=1),
    ]
    return torch.stack(mixed, dim=1).flatten(0, 1)


class GridBlock(nn.Module):
    """A residual block on a grid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_one, self.norm_two = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.one = nn.Conv3d(width, width, 3, padding=1)
        self.two = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "B c R R R"]) -> Float[Tensor, "B c R R R"]:
        """The grid after it."""
        return x + self.two(F.silu(self.norm_two(self.one(F.silu(self.norm_one(x))))))


def _cells(points: Float[Tensor, "n 3"], size: int) -> Int[Tensor, "n 3"]:
    return ((points + 1) * (size / 2)).floor().long().clamp(0, size - 1)


def _mean(x: Float[Tensor, "n c"], rows: Int[Tensor, "n"], count: int) -> Float[Tensor, "m c+1"]:
    ones = x.new_ones(len(x), 1)
    total = x.new_zeros(count, x.shape[1] + 1).index_add(0, rows, torch.cat([x, ones], dim=1))
    number = total[:, -1:]
    return torch.cat([total[:, :-1] / number.clamp(min=1), torch.log1p(number)], dim=1)
