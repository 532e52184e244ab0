"""k-means: weighted, deterministic, on every point, with empty centers moved to where they help."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from . import search
from .nearest import nearest

INITS = ("sample", "plusplus")
"""Ways to choose the first centers."""
PLUSPLUS_SAMPLE = 32
"""k-means++ looks at up to this many points per center: each center takes a pass over them."""


@dataclass(frozen=True)
class KMeansResult:
    """Centers and what they were found on."""

    centers: Float[Tensor, "k dim"]
    """The centers, float32."""
    indices: Int[Tensor, "n"]
    """Nearest center of every point, int64."""
    cost: float
    """Weighted mean of the squared distance of a point to its center."""
    history: tuple[float, ...]
    """The same before each update, so that `history[-1] >= cost` unless a center was revived."""


def kmeans(
    x: Float[Tensor, "n dim"],
    k: int,
    *,
    weights: Float[Tensor, "n"] | None = None,
    iterations: int = 25,
    seed: int = 0,
    init: str = "sample",
    max_points_per_center: int | None = None,
    tolerance: float = 0.0,
) -> KMeansResult:
    """k centers with a small sum of weighted squared distances (Lloyd's iterations).

    Args:
        x: Points, finite; computed in float32 on the CPU.
        k: Number of centers, at most n.
        weights: Importance of each point, non-negative; None weighs all alike.
        iterations: Most updates of the centers; fewer where no point changes its center.
        seed: Decides the first centers, and with the data everything else: the result does not
            depend on the number of threads.
        init: "sample" draws distinct points by weight; "plusplus" draws by squared distance to
            the centers so far, from a sample of 32 points per center (better for small k).
        max_points_per_center: Learn from at most this many points per center, drawn by `seed`;
            None uses all. Indices and cost are always those of all points.
        tolerance: Stop when the cost falls by less than this share.

    Raises:
        ValueError: `k`, `weights` or `init` is out of range, or `x` is not finite.

    A center without points moves to the point that costs most.
    """
    x = x.detach().float().cpu().contiguous()
    _check(x, k, weights, init)
    w = None if weights is None else weights.detach().float().cpu().contiguous()
    generator = np.random.default_rng(seed)
    points, w_points = x.numpy(), None if w is None else w.numpy()
    train, w_train = points, w_points
    if max_points_per_center is not None and len(x) > max(1, max_points_per_center) * k:
        size = max(1, max_points_per_center) * k
        kept = np.sort(generator.choice(len(x), size, replace=False))
        train, w_train = points[kept], None if w_points is None else w_points[kept]
    start = _first_centers(train, k, w_train, generator, init)
    state = (_Pruned if search.available() else _Plain)(train, w_train, start)
    history: list[float] = []
    for _ in range(iterations):
        changed = state.assign()
        history.append(state.cost())
        if not changed or (
            len(history) > 1 and history[-2] - history[-1] <= tolerance * history[-2] > 0
        ):
            break
        state.update()
    else:
        state.assign()
    centers = torch.from_numpy(state.centers())
    if train is points:
        return KMeansResult(
            centers, torch.from_numpy(state.indices()), state.cost(), tuple(history)
        )
    indices, costs = nearest(x, centers)
    cost = float(np.average(costs.double().numpy(), weights=w_points))
    return KMeansResult(centers, indices, cost, tuple(history))


def _check(x: Tensor, k: int, weights: Tensor | None, init: str) -> None:
    if not 1 <= k <= len(x):
        raise ValueError(f"`k` must be from 1 to the number of points, {len(x)}; got {k}.")
    if x.shape[1] == 0:
        raise ValueError("`x` must have at least one column, got none.")
    if not bool(torch.isfinite(x).all()):
        raise ValueError("`x` must be finite; drop or replace rows with NaN or infinity.")
    if init not in INITS:
        raise ValueError(f"`init` must be one of {', '.join(INITS)}, got {init!r}.")
    if weights is None:
        return
    if weights.shape != (len(x),):
        raise ValueError(f"`weights` must be [{len(x)}] to match `x`, got {list(weights.shape)}.")
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()) or not bool(weights.any()):
        raise ValueError("`weights` must be finite, non-negative and not all 0.")


def _first_centers(
    x: NDArray[np.float32],
    k: int,
    weights: NDArray[np.float32] | None,
    generator: np.random.Generator,
    init: str,
) -> NDArray[np.float32]:
    """k rows of `x`."""
    shares = None
    if weights is not None and np.count_nonzero(weights) >= k:
        shares = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    if init == "sample":
        return x[np.sort(generator.choice(len(x), k, replace=False, p=shares))]
    size = min(len(x), PLUSPLUS_SAMPLE * k)
    sample = x[np.sort(generator.choice(len(x), size, replace=False, p=shares))]
    chosen = np.empty((k, x.shape[1]), np.float32)
    chosen[0] = sample[generator.integers(size)]
    costs = ((sample - chosen[0]) ** 2).sum(1, dtype=np.float64)
    for i in range(1, k):
        sums = np.cumsum(costs)
        # Where all points are taken, any will do: the center is revived or stays unused.
        at = np.searchsorted(sums, generator.random() * sums[-1], side="right")
        chosen[i] = sample[min(int(at), size - 1)]
        np.minimum(costs, ((sample - chosen[i]) ** 2).sum(1), out=costs)
    return chosen


class _Plain:
    """Lloyd's iterations on torch."""

    def __init__(
        self,
        x: NDArray[np.float32],
        weights: NDArray[np.float32] | None,
        centers: NDArray[np.float32],
    ) -> None:
        self._x, self._weights = torch.from_numpy(x), weights
        self._centers = centers.copy()
        self._indices = np.full(len(x), -1, np.int64)
        self._costs = np.zeros(len(x), np.float32)

    def assign(self) -> bool:
        """Find every point's center; whether any changed."""
        indices, costs = nearest(self._x, torch.from_numpy(self._centers))
        changed = bool((indices.numpy() != self._indices).any())
        self._indices, self._costs = indices.numpy(), costs.clamp(min=0).numpy()
        return changed

    def update(self) -> None:
        """Move the centers to their points' means."""
        rows = self._x.double()
        mass = torch.ones(len(rows), dtype=torch.float64)
        if self._weights is not None:
            mass = torch.from_numpy(self._weights).double()
        where = torch.from_numpy(self._indices)
        sums = torch.zeros(self._centers.shape, dtype=torch.float64)
        sums.index_add_(0, where, rows * mass[:, None])
        totals = torch.bincount(where, mass, minlength=len(sums)).numpy()
        self._centers = _means(
            self._centers, sums.numpy(), totals, self._x.numpy(), self._costs, self._weights
        )

    def cost(self) -> float:
        """Weighted mean squared distance."""
        return float(np.average(self._costs.astype(np.float64), weights=self._weights))

    def centers(self) -> NDArray[np.float32]:
        """The centers `[k, dim]`."""
        return self._centers

    def indices(self) -> NDArray[np.int64]:
        """Nearest center of each point."""
        return self._indices


class _Pruned:
    """The same iterations on the native search; its bounds are kept from one to the next."""

    def __init__(
        self,
        x: NDArray[np.float32],
        weights: NDArray[np.float32] | None,
        centers: NDArray[np.float32],
    ) -> None:
        self._axes = search.Axes.of(x)
        self._rows, self._weights = self._axes.place(x), weights
        self._centers = self._axes.place(centers)
        self._groups = search.Groups.of(self._centers)
        self._index: search.Index | None = None
        self._positions = np.full(len(x), -1, np.int32)
        self._costs = np.zeros(len(x), np.float32)
        size = 2 * len(x) * self._groups.stride
        fits = size <= search.MAX_BOUND_BYTES
        self._bounds = np.empty((len(x), self._groups.stride), np.uint16) if fits else None

    def assign(self) -> bool:
        """Find every point's center; whether any changed."""
        index = search.Index(self._axes, self._groups, self._centers)
        drift = index.drift(self._index) if self._index and self._bounds is not None else None
        before = self._positions.copy()
        index.search(self._rows, self._positions, self._costs, bounds=self._bounds, drift=drift)
        self._index = index
        return not np.array_equal(before, self._positions)

    def update(self) -> None:
        """Move the centers to their points' means."""
        sums = np.zeros((len(self._groups.ids), self._axes.width))
        totals = np.zeros(len(self._groups.ids))
        search.sum_by_center(self._rows, self._weights, self._positions, sums, totals)
        at = self._groups.positions
        self._centers = _means(
            self._centers, sums[at], totals[at], self._rows, self._costs, self._weights
        )

    def cost(self) -> float:
        """Weighted mean squared distance."""
        return float(np.average(self._costs.astype(np.float64), weights=self._weights))

    def centers(self) -> NDArray[np.float32]:
        """The centers `[k, dim]`."""
        return self._axes.unplace(self._centers)

    def indices(self) -> NDArray[np.int64]:
        """Nearest center of each point."""
        return self._groups.ids[self._positions].astype(np.int64)


def _means(
    centers: NDArray[np.float32],
    sums: NDArray[np.float64],
    totals: NDArray[np.float64],
    rows: NDArray[np.float32],
    costs: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Means of the centers with points; the others move to the points that cost most."""
    used = totals > 0
    moved = centers.copy()
    moved[used] = sums[used] / totals[used, None]
    empty = np.flatnonzero(~used)
    if len(empty):
        price = costs if weights is None else costs * weights
        dearest = np.argsort(-price, kind="stable")[: len(empty)]
        dearest = dearest[price[dearest] > 0]
        moved[empty[: len(dearest)]] = rows[dearest]
    return moved
