"""Products of a plane and a line in three orientations (vector-matrix decomposition).

Component r of orientation k is P_kr(a, b) l_kr(c): the plane over two axes is interpolated
bilinearly, the line over the third linearly, between nodes of which the first and the last lie on
the box's faces. Reference: Chen et al., "TensoRF", 2022, eq. 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..kernels import native_for

PLANE_AXES = ((0, 1), (0, 2), (1, 2))
LINE_AXIS = (2, 1, 0)
MAX_RANK = 48
"""Most components per orientation that the kernel takes."""


@dataclass(frozen=True)
class VmFactors:
    """Planes and lines of R components in each of three orientations."""

    planes: tuple[Tensor, Tensor, Tensor]
    """[Gx, Gy, R], [Gx, Gz, R] and [Gy, Gz, R]."""
    lines: tuple[Tensor, Tensor, Tensor]
    """[Gz, R], [Gy, R] and [Gx, R]."""

    def __post_init__(self) -> None:
        size, rank = self.size, self.lines[0].shape[1]
        for k, (a, b) in enumerate(PLANE_AXES):
            expected = (size[a], size[b], rank)
            if self.planes[k].shape != expected or self.lines[k].shape != (
                size[LINE_AXIS[k]],
                rank,
            ):
                raise ValueError(
                    f"`planes[{k}]` must be {list(expected)} and `lines[{k}]` "
                    f"[{size[LINE_AXIS[k]]}, {rank}], got {list(self.planes[k].shape)} and "
                    f"{list(self.lines[k].shape)}."
                )
        if rank % 8 or not 8 <= rank <= MAX_RANK or min(size) < 2:
            raise ValueError(
                f"`planes` must have at least 2 nodes and a multiple of 8 components up to "
                f"{MAX_RANK}, got {rank} of {size}."
            )

    @property
    def size(self) -> tuple[int, int, int]:
        """Nodes along x, y and z."""
        return self.planes[0].shape[0], self.planes[0].shape[1], self.planes[1].shape[1]

    @property
    def rank(self) -> int:
        """R."""
        return self.lines[0].shape[1]

    def resized(self, size: tuple[int, int, int]) -> VmFactors:
        """The same functions on another number of nodes, interpolated linearly."""
        planes, lines = [], []
        for k, (a, b) in enumerate(PLANE_AXES):
            plane = self.planes[k].detach().movedim(-1, 0)[None]
            plane = F.interpolate(plane, (size[a], size[b]), mode="bilinear", align_corners=True)
            planes.append(plane[0].movedim(0, -1).contiguous())
            line = self.lines[k].detach().T[None]
            line = F.interpolate(line, size[LINE_AXIS[k]], mode="linear", align_corners=True)
            lines.append(line[0].T.contiguous())
        return VmFactors(tuple(planes), tuple(lines))


def vm_features(
    factors: VmFactors, points: Float[Tensor, "S 3"], *, summed: bool
) -> Float[Tensor, "S *components"]:
    """Components [S, 3 R] of points in [0, 1]^3, or their sum [S]; differentiable in the factors.

    Args:
        factors: Planes and lines.
        points: Clamped to [0, 1].
        summed: Add the components up.
    """
    native = native_for(*factors.planes, *factors.lines, points)
    if native is None:
        return vm_reference(factors, points, summed=summed)
    return _Vm.apply(points, summed, native, *factors.planes, *factors.lines)


def vm_reference(
    factors: VmFactors, points: Float[Tensor, "S 3"], *, summed: bool
) -> Float[Tensor, "S *components"]:
    """`vm_features` in plain torch: the definition of the kernel."""
    found = []
    for k, (a, b) in enumerate(PLANE_AXES):
        plane, line = factors.planes[k], factors.lines[k]
        row, row_share = _cell(points[:, a], plane.shape[0])
        column, column_share = _cell(points[:, b], plane.shape[1])
        lower = torch.lerp(plane[row, column], plane[row, column + 1], column_share)
        upper = torch.lerp(plane[row + 1, column], plane[row + 1, column + 1], column_share)
        node, share = _cell(points[:, LINE_AXIS[k]], len(line))
        found.append(
            torch.lerp(lower, upper, row_share) * torch.lerp(line[node], line[node + 1], share)
        )
    components = torch.cat(found, dim=1)
    return components.sum(1) if summed else components


def _cell(x: Float[Tensor, "S"], nodes: int) -> tuple[Tensor, Tensor]:
    at = x.clamp(0, 1) * (nodes - 1)
    node = at.long().clamp(max=nodes - 2)
    return node, (at - node)[:, None]


class _Vm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, summed: bool, native: Any, *factors: Tensor) -> Tensor:
        rank = factors[3].shape[1]
        ctx.held = [item.detach().contiguous() for item in (*factors, points)]
        size = (factors[0].shape[0], factors[0].shape[1], factors[1].shape[1])
        ctx.settings, ctx.native = (*size, rank, summed), native
        out = torch.empty(len(points)) if summed else torch.empty(len(points), 3 * rank)
        native.vm_forward(
            *(item.data_ptr() for item in ctx.held), *ctx.settings, out.data_ptr(), len(points)
        )
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        given = gradients[0].contiguous()
        found = [torch.zeros_like(item) for item in ctx.held[:6]]
        ctx.native.vm_backward(
            *(item.data_ptr() for item in ctx.held),
            *ctx.settings,
            given.data_ptr(),
            *(item.data_ptr() for item in found),
            len(given),
        )
        return None, None, None, *found
