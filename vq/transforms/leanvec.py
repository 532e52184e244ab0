"""LeanVec: project rows to few dimensions so that products with queries survive.

Tepper et al., "LeanVec: Searching vectors faster by making them fit", 2023. With queries (or, for
scene attributes, directions of rendering sensitivity) of another distribution than the rows, the
projection is chosen from both: eigenvectors of K_β with a scalar search over β. Put `LvqCodec`
behind it for the published system.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .klt import principal_directions
from .linear import LinearTransform

_GOLDEN = (5**0.5 - 1) / 2


def fit_leanvec(
    x: NDArray[np.floating],
    rank: int,
    *,
    queries: NDArray[np.floating] | None = None,
    beta: float | None = None,
    bits: int = 14,
) -> LinearTransform:
    """A projection of `x [n, d]` to `rank` dimensions.

    Args:
        x: The rows.
        rank: Dimensions to keep, in [1, d].
        queries: What the rows are multiplied with, [m, d]; None takes the rows' own distribution.
        beta: Share of the queries in K_β = (1 - β)/n XXᵀ + β/m QQᵀ; None searches for the share of
            least `product_error`.
        bits: Fractional bits of the stored directions.

    Raises:
        ValueError: `rank` or `beta` is out of range or the widths differ.
    """
    x = np.asarray(x, dtype=np.float64)
    if not 1 <= rank <= x.shape[1]:
        raise ValueError(f"`rank` must be in [1, {x.shape[1]}], got {rank}.")
    rows = x.T @ x / len(x)
    if queries is None:
        return LinearTransform.of(principal_directions(rows)[:rank], bits=bits)
    queries = np.asarray(queries, dtype=np.float64)
    if queries.ndim != 2 or queries.shape[1] != x.shape[1]:
        raise ValueError(f"`queries` must be [m, {x.shape[1]}], got {list(queries.shape)}.")
    if beta is not None and not 0 <= beta <= 1:
        raise ValueError(f"`beta` must be in [0, 1], got {beta}.")
    asked = queries.T @ queries / len(queries)

    def directions(share: float) -> NDArray[np.float64]:
        return principal_directions((1 - share) * rows + share * asked)[:rank]

    share = beta if beta is not None else _search(lambda b: _loss(directions(b), rows, asked))
    return LinearTransform.of(directions(share), bits=bits)


def product_error(
    transform: LinearTransform, x: NDArray[np.floating], queries: NDArray[np.floating]
) -> float:
    """Mean squared error of the products of all rows with all queries, equation 4 of the paper."""
    missing = np.asarray(x, np.float64) - transform.inverse(transform.forward(x))
    error = np.asarray(queries, np.float64) @ missing.T
    return float(np.square(error).mean())


def _loss(
    directions: NDArray[np.float64], rows: NDArray[np.float64], asked: NDArray[np.float64]
) -> float:
    """Mean of (qᵀ(PᵀP - I)x)² for independent q and x."""
    rest = np.eye(len(rows)) - directions.T @ directions
    return float(np.trace(asked @ rest @ rows @ rest))


def _search(loss: Callable[[float], float]) -> float:
    """The best of a coarse grid on [0, 1], refined by golden section around it."""
    grid = np.linspace(0, 1, 11)
    best = int(np.argmin([loss(b) for b in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, 10)]
    for _ in range(12):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(min((low, high, grid[best]), key=loss))
