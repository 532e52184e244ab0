"""Multi-resolution hash grid: trainable features of points in the unit cube.

On the CPU in float32 native kernels run, with the same bits for any number of threads; elsewhere
`hash_grid_reference`, which defines them.

Reference: Mueller et al., "Instant Neural Graphics Primitives", 2022, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding

from captures import ensure_shape

from .training.kernels import native_kernels_for

PRIMES = (1, 2654435761, 805459861)
"""Multipliers of the cell's x, y, z in the hash (eq. 4)."""
FEATURES = (1, 2, 4, 8)
"""Numbers of features per entry that the kernels know."""

_PART = 1 << 16
"""Points that the torch twin takes at once; more would take memory and save no time."""


class GridLevel(NamedTuple):
    """One resolution."""

    resolution: int
    """Cells along an axis."""
    size: int
    """Entries in the table."""
    hashed: bool
    """Whether vertices share entries; else there is one for each, x fastest."""


@dataclass(frozen=True)
class HashGridLayout:
    """Shape of a grid of L levels with F features per entry."""

    levels: int = 16
    """L."""
    features: int = 2
    """F: 1, 2, 4 or 8."""
    log2_entries: int = 19
    """A level has at most 2 to this power entries."""
    base_resolution: int = 16
    """Cells of the coarsest level along an axis."""
    growth: float = 1.447
    """Ratio of the resolutions of neighboring levels."""

    def __post_init__(self) -> None:
        if self.levels < 1 or self.base_resolution < 1 or not 0 <= self.log2_entries <= 28:
            raise ValueError(
                "`levels` and `base_resolution` must be at least 1 and `log2_entries` 0 to 28, "
                f"got {self.levels}, {self.base_resolution} and {self.log2_entries}."
            )
        if self.features not in FEATURES:
            raise ValueError(f"`features` must be one of {FEATURES}, got {self.features}.")
        finest = self.base_resolution * self.growth ** (self.levels - 1)
        if self.growth < 1 or not finest < 2**20:
            raise ValueError(
                f"`growth` must be at least 1 and the finest level have less than 2^20 cells along "
                f"an axis, got {self.growth} and {finest:.3g}."
            )

    @cached_property
    def table(self) -> tuple[GridLevel, ...]:
        """The levels, coarsest first, in the order of their entries."""
        found = []
        for level in range(self.levels):
            resolution = int(self.base_resolution * self.growth**level)
            vertices, most = (resolution + 1) ** 3, 2**self.log2_entries
            found.append(GridLevel(resolution, min(vertices, most), vertices > most))
        return tuple(found)

    @property
    def num_entries(self) -> int:
        """Entries of all levels."""
        return sum(level.size for level in self.table)

    @property
    def num_outputs(self) -> int:
        """L * F."""
        return self.levels * self.features


class HashGrid(nn.Module):
    """A trainable grid; its features start within 1e-4 of zero."""

    def __init__(self, layout: HashGridLayout, *, generator: torch.Generator | None = None) -> None:
        """`generator` draws the start; None takes torch's global one."""
        super().__init__()
        self.layout = layout
        start = torch.rand(layout.num_entries, layout.features, generator=generator)
        self.table = nn.Parameter((2 * start - 1) * 1e-4)

    def forward(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch LF"]:
        """See `hash_grid`."""
        return hash_grid(points, self.table, self.layout)


def hash_grid(
    points: Float[Tensor, "*batch 3"], table: Float[Tensor, "E F"], layout: HashGridLayout
) -> Float[Tensor, "*batch LF"]:
    """Trilinearly interpolated features of all levels, coarsest first.

    Args:
        points: Positions in the unit cube; clamped to it, and one that is not a number counts as 0
            natively. Contractions are the caller's.
        table: Entries of all levels, in the order of `layout.table`.
        layout: Shape of the grid.

    Differentiable once in `table` and in `points`; clamped coordinates have no gradient. The
    gradient of the points is computed only where it is asked for.

    Raises:
        ValueError: a shape does not fit the layout.
    """
    ensure_shape("points", points, ("...", 3))
    ensure_shape("table", table, (layout.num_entries, layout.features), "as its layout says.")
    if native_kernels_for(points, table) is None:
        return hash_grid_reference(points, table, layout)
    features = _Native.apply(points.reshape(-1, 3), table, layout)
    return features.reshape(*points.shape[:-1], layout.num_outputs)


def hash_grid_reference(
    points: Float[Tensor, "*batch 3"], table: Float[Tensor, "E F"], layout: HashGridLayout
) -> Float[Tensor, "*batch LF"]:
    """`hash_grid` in plain torch, any device and float dtype: the definition."""
    parts = points.reshape(-1, 3).split(_PART)
    found = torch.cat([_interpolated(part, table, layout) for part in parts])
    return found.reshape(*points.shape[:-1], layout.num_outputs)


def _interpolated(
    points: Float[Tensor, "N 3"], table: Float[Tensor, "E F"], layout: HashGridLayout
) -> Float[Tensor, "N LF"]:
    """All levels at once: few operations, each of which a GPU has to be told of."""
    levels = _Levels.of(layout, table.device)
    scaled = points.clamp(0, 1)[..., None, :] * levels.resolution[:, None]
    cell = torch.minimum(scaled.detach().floor(), levels.resolution[:, None] - 1)
    high = scaled - cell
    wx, wy, wz = torch.stack([1 - high, high], dim=-1).unbind(-2)
    weights = wz[..., :, None, None] * wy[..., None, :, None] * wx[..., None, None, :]
    entries = embedding(levels.entries(cell.long()), table)
    return (weights.flatten(-3)[..., None] * entries).sum(dim=-2).flatten(-2)


@dataclass(frozen=True)
class _Levels:
    """The L levels of a layout as tensors, kept per device."""

    resolution: Int[Tensor, "L"]
    size: Int[Tensor, "L"]
    begin: Int[Tensor, "L"]
    """First entry of each level."""
    hashed: Bool[Tensor, "L"]

    @staticmethod
    @cache
    def of(layout: HashGridLayout, device: torch.device) -> _Levels:
        """Those of `layout`."""
        resolution, size, hashed = (torch.tensor(x) for x in zip(*layout.table, strict=True))
        found = (resolution, size, size.cumsum(0) - size, hashed)
        return _Levels(*(x.to(device) for x in found))

    def entries(self, cell: Int[Tensor, "*batch L 3"]) -> Int[Tensor, "*batch L 8"]:
        """Where the corners of cells are in the table, x fastest."""
        sides = torch.stack([cell, cell + 1], dim=-1)  # [*batch, L, 3, 2]
        side = self.resolution[:, None] + 1
        x, y, z = sides.unbind(-2)
        own = _corners(torch.add, x, y * side, z * side * side)
        mask = self.size[:, None] - 1
        x, y, z = (part * prime & mask for part, prime in zip((x, y, z), PRIMES, strict=True))
        mixed = _corners(torch.bitwise_xor, x, y, z)
        found = torch.where(self.hashed[:, None, None, None], mixed, own)
        return (found + self.begin[:, None, None, None]).flatten(-3)


def _corners(join: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """int32 [*batch, L, 2, 2, 2] from the axes' parts [*batch, L, 2], which takes a sixth of the
    memory of all corners' coordinates. Dense places in hashed levels, which nobody reads, may
    overflow."""
    rows = join(y.int()[..., None, :, None], x.int()[..., None, None, :])
    return join(z.int()[..., :, None, None], rows)


class _Native(torch.autograd.Function):
    """Interpolation and its gradients through the kernels."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, table: Tensor, layout: HashGridLayout) -> Tensor:
        native = native_kernels_for(points, table)
        assert native is not None
        points, table = points.detach().contiguous(), table.detach().contiguous()
        features = points.new_empty(len(points), layout.num_outputs)
        native.hash_grid(points, table, layout.table, features)
        ctx.save_for_backward(points, table)
        ctx.layout = layout
        return features

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, v_features: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        points, table = ctx.saved_tensors
        native = native_kernels_for(points, table)
        assert native is not None
        v_points = torch.empty_like(points) if ctx.needs_input_grad[0] else None
        v_table = torch.zeros_like(table) if ctx.needs_input_grad[1] else None
        v_features = v_features.contiguous()
        native.hash_grid_backward(points, table, ctx.layout.table, v_features, v_table, v_points)
        return v_points, v_table, None
