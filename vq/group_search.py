"""Nearest codes where every search names the group of codes to look in.

An index of two levels: codes stand in groups, and a point is compared with the codes of the few
groups nearest to it (an inverted file: Jégou, Douze and Schmid, "Product quantization for nearest
neighbor search", PAMI 2011), or of the one group that it belongs to.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .nearest import nearest

try:
    from . import _native
except ImportError:
    _native = None


@torch.no_grad()
def nearest_in_groups(
    x: Float[Tensor, "n dim"],
    rows: Int[Tensor, "m"],
    row_starts: Int[Tensor, "ends"],
    codes: Float[Tensor, "k dim"],
    code_starts: Int[Tensor, "ends"],
) -> tuple[Int[Tensor, "m"], Float[Tensor, "m"]]:
    """Index of the nearest code in its group for each search, and the squared distance.

    G groups have G + 1 ends.

    Args:
        x: Points, on the CPU.
        rows: Point of each search, the searches of a group together; points may come repeatedly.
        row_starts: Searches `row_starts[g]` to `row_starts[g + 1]` look in group g.
        codes: Codes, those of a group together.
        code_starts: Codes `code_starts[g]` to `code_starts[g + 1]` are group g.

    Returns:
        Indices into `codes`, int64, the lowest among equals; -1 where the group is empty. Squared
        distances, float32, infinite there.

    Raises:
        ValueError: Starts that do not fit, or rows out of range.
    """
    if _native is None:
        return _nearest_in_groups(x, rows, row_starts, codes, code_starts)
    indices = torch.empty(len(rows), dtype=torch.int32)
    costs = torch.empty(len(rows))
    _native.search_groups(
        x.float().contiguous().numpy(),
        rows.int().contiguous().numpy(),
        row_starts.contiguous().numpy(),
        codes.float().contiguous().numpy(),
        code_starts.contiguous().numpy(),
        indices.numpy(),
        costs.numpy(),
    )
    return indices.long(), costs


def _nearest_in_groups(
    x: Tensor, rows: Tensor, row_starts: Tensor, codes: Tensor, code_starts: Tensor
) -> tuple[Tensor, Tensor]:
    """The twin of the native search."""
    indices = torch.full((len(rows),), -1)
    costs = torch.full((len(rows),), math.inf)
    for group in range(len(row_starts) - 1):
        searches = slice(int(row_starts[group]), int(row_starts[group + 1]))
        first, last = int(code_starts[group]), int(code_starts[group + 1])
        if first < last and searches.start < searches.stop:
            index, cost = nearest(x[rows[searches]], codes[first:last])
            indices[searches], costs[searches] = index + first, cost.clamp(min=0)
    return indices, costs
