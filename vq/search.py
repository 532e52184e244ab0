"""Exact nearest centers, pruned by lower bounds: what the native search works on.

Vectors are turned into their principal axes. The leading `r` coordinates and the length of the
rest make r + 1 numbers whose distance never exceeds that of the vectors, because two rests differ
by at least the difference of their lengths. These numbers are rounded to a lattice, on which
distances are integer dot products. With a and b the distances of x and c from their lattice points,

    |x - c| >= |x^ - c^| - a - b                                 (triangle inequality),

so a center whose lattice distance exceeds that of the best so far by a + b need not be measured.
Centers lie in groups of 64 that are near each other (a balanced k-d tree). A search leaves behind
a lower bound of each point's distance to each group; in the next iteration of k-means it is
lowered by how far the group's centers moved, and still settles most pairs (Ding et al. 2015,
"Yinyang k-means"). What is left is measured in float32. Nothing is approximate: the bounds only
choose what to measure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

try:
    from . import _native
except ImportError:
    _native = None

GROUP = 64
"""Centers per group."""
LATTICE_MAX = 5400
"""Largest lattice coordinate: 1.5 * 48 * 5400^2 < 2^31, so scores fit 32 bits."""
RANGE = 12
"""The lattice reaches this many standard deviations of the first axis."""
RELATIVE = 1e-5
"""Covers the rounding of float32 lengths."""
TAIL = 0.03
"""Share of the variance left to the length of the rest."""
OUTLIER = 4
"""Values beyond this many times the 99 % quantile are cut off when axes are computed."""
SAMPLE = 1 << 14
"""Rows from which the axes are computed."""
MAX_BOUND_BYTES = 1 << 30
"""Most memory for bounds between searches; above it each search starts anew."""


@dataclass(frozen=True)
class Axes:
    """The coordinates in which a search works."""

    mean: NDArray[np.float64]
    """Origin, the median, `[d]`."""
    rotation: NDArray[np.float64]
    """Axes in columns by falling variance, `[d, d]`."""
    leading: int
    """r: coordinates that enter as they are."""
    pairs: int
    """Pairs of lattice coordinates: 4, 8, ..., 24."""
    step: float
    """Lattice step."""

    @property
    def width(self) -> int:
        """Length of a row: d, rounded up to a multiple of 16."""
        return -(-len(self.mean) // 16) * 16

    @staticmethod
    def of(x: NDArray[np.float32]) -> Axes:
        """Axes of the rows `[n, d]`, from at most 2^14 of them."""
        sample = x[:: max(1, len(x) // SAMPLE)].astype(np.float64)
        # Neither origin nor axes follow outliers, which would cost all others their precision.
        mean = np.median(sample, axis=0)
        centered = sample - mean
        limits = OUTLIER * np.quantile(np.abs(centered), 0.99, axis=0)
        centered = np.clip(centered, -limits, limits)
        variances, rotation = np.linalg.eigh(centered.T @ centered / len(sample))
        variances, rotation = np.maximum(variances[::-1], 0), rotation[:, ::-1]
        dim, total = len(mean), float(variances.sum())
        left = total - np.cumsum(variances)
        enough = int(np.argmax(left <= TAIL * total + 1e-12 * total)) + 1
        pairs = min(24, -(-(enough + 1) // 8) * 4)
        # Rows that are padded need a coordinate for the norm of their rest, though it is 0.
        fits = dim < 2 * pairs or (dim == 2 * pairs and dim % 16 == 0)
        leading = dim if fits else 2 * pairs - 1
        step = RANGE * float(np.sqrt(variances[0])) / LATTICE_MAX
        return Axes(mean, np.ascontiguousarray(rotation), leading, pairs, step or 1.0)

    def place(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows `[n, d]` in these coordinates, padded with zeros to `[n, width]`."""
        rows = np.zeros((len(x), self.width), np.float32)
        dim = len(self.mean)
        rotation = self.rotation.astype(np.float32)
        shift = (self.mean @ self.rotation).astype(np.float32)
        for start in range(0, len(x), 1 << 16):
            part = x[start : start + (1 << 16)] @ rotation
            np.subtract(part, shift, out=rows[start : start + (1 << 16), :dim])
        return rows

    def unplace(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        """The inverse of `place`."""
        dim = len(self.mean)
        return (rows[:, :dim].astype(np.float64) @ self.rotation.T + self.mean).astype(np.float32)


@dataclass(frozen=True)
class Groups:
    """Which center lies in which group: position p = 64 g + lane holds center `ids[p]`."""

    ids: NDArray[np.int32]
    """`[64 * groups]`, -1 where a group has a free place."""

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.ids) // GROUP

    @property
    def stride(self) -> int:
        """`count`, rounded up to a multiple of 32."""
        return -(-self.count // 32) * 32

    @property
    def positions(self) -> NDArray[np.int32]:
        """Position of each center, `[K]`."""
        held = np.flatnonzero(self.ids >= 0)
        positions = np.empty(len(held), np.int32)
        positions[self.ids[held]] = held
        return positions

    @staticmethod
    def of(rows: NDArray[np.float32]) -> Groups:
        """Balanced cuts across the axis of largest spread, until at most 64 centers are left."""
        count = -(-len(rows) // GROUP)
        parts = [(np.arange(len(rows)), count)]
        while any(groups > 1 for _, groups in parts):
            halves = []
            for part, groups in parts:
                if groups == 1:
                    halves.append((part, 1))
                    continue
                values = rows[part]
                axis = int(np.argmax(values.max(0) - values.min(0)))
                order = part[np.argsort(values[:, axis], kind="stable")]
                cut = len(part) * (groups // 2) // groups
                halves += [(order[:cut], groups // 2), (order[cut:], groups - groups // 2)]
            parts = halves
        ids = np.full((count, GROUP), -1, np.int32)
        for g, (part, _) in enumerate(parts):
            ids[g, : len(part)] = np.sort(part)
        return Groups(ids.reshape(-1))


class Index:
    """Centers, ready to be searched natively.

    Args:
        rows: Centers `[K, width]` in the coordinates of `axes`.
    """

    def __init__(self, axes: Axes, groups: Groups, rows: NDArray[np.float32]) -> None:
        self.axes, self.groups = axes, groups
        held = groups.ids >= 0
        self.rows = rows[np.maximum(groups.ids, 0)]
        lattice, off = _lattice(self.rows, axes)
        norms = (lattice.astype(np.int64) ** 2).sum(1)
        # A free place gets a norm that no score survives.
        half = np.where(held, (norms + 1) // 2, (1 << 31) - 1 - (1 << 30))
        lattice[~held] = 0
        self.tiles, self.half_norms = _tiles(lattice), half.astype(np.int32)
        grouped = held.reshape(-1, GROUP)
        self.slack = np.where(grouped, off.reshape(-1, GROUP), 0).max(1).astype(np.float32)
        self._hubs(grouped)

    def _hubs(self, held: NDArray[np.bool_]) -> None:
        """Means of the groups and the radii about them."""
        count = self.groups.count
        members = self.rows.reshape(count, GROUP, -1)
        hubs = (members * held[..., None]).sum(1) / np.maximum(held.sum(1), 1)[:, None]
        distances = np.sqrt(((members - hubs[:, None]) ** 2).sum(2))
        radii = np.where(held, distances, 0).max(1)
        padded = np.zeros((-(-count // GROUP) * GROUP, self.rows.shape[1]), np.float32)
        padded[:count] = hubs
        lattice, off = _lattice(padded, self.axes)
        self.hub_tiles = _tiles(lattice)
        self.hub_norms = (((lattice.astype(np.int64) ** 2).sum(1) + 1) // 2).astype(np.int32)
        reach = radii / self.axes.step * (1 + RELATIVE) + off[:count]
        self.reach = reach.astype(np.float32)

    def search(
        self,
        points: NDArray[np.float32],
        positions: NDArray[np.int32],
        costs: NDArray[np.float32],
        *,
        bounds: NDArray[np.uint16] | None = None,
        drift: NDArray[np.uint16] | None = None,
    ) -> int:
        """Move `positions` to the nearest centers; returns pairs of point and group scanned.

        Args:
            points: `[n, width]` in the coordinates of `axes`.
            positions: In: where to start, or -1. Out: the position of the nearest center.
            costs: Filled with squared distances.
            bounds: `[n, stride]`, kept between searches.
            drift: How far each group moved since `bounds` was filled; None if it never was.
        """
        assert _native is not None
        return _native.search_nearest(
            points,
            self.rows,
            self.groups.ids,
            self.axes.leading,
            self.axes.pairs,
            self.tiles,
            self.half_norms,
            self.slack,
            self.hub_tiles,
            self.hub_norms,
            self.reach,
            self.axes.step,
            positions,
            costs,
            bounds,
            drift,
        )

    def drift(self, before: Index) -> NDArray[np.uint16]:
        """How far the centers of each group moved since `before`, in the units of bounds."""
        moved = np.sqrt(((self.rows - before.rows).astype(np.float64) ** 2).sum(1))
        largest = np.where(self.groups.ids >= 0, moved, 0).reshape(-1, GROUP).max(1)
        units = np.ceil(largest / self.axes.step * (1 + RELATIVE) / 2 + RELATIVE)
        drift = np.zeros(self.groups.stride, np.uint16)
        drift[: self.groups.count] = np.minimum(units, 65535)
        return drift


def _lattice(
    rows: NDArray[np.float32], axes: Axes
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Lattice points `[n, 2 * pairs]` and the distances to them in steps, rounded up."""
    exact = np.zeros((len(rows), 2 * axes.pairs))
    leading = min(axes.leading, rows.shape[1], 2 * axes.pairs)
    exact[:, :leading] = rows[:, :leading]
    if axes.leading < 2 * axes.pairs:
        exact[:, axes.leading] = np.sqrt((rows[:, axes.leading :].astype(np.float64) ** 2).sum(1))
    exact /= axes.step
    lattice = np.rint(np.clip(exact, -LATTICE_MAX, LATTICE_MAX))
    off = np.sqrt(((exact - lattice) ** 2).sum(1)) * (1 + RELATIVE)
    off += RELATIVE * np.sqrt((lattice**2).sum(1))
    return lattice.astype(np.int16), off.astype(np.float32)


def _tiles(lattice: NDArray[np.int16]) -> NDArray[np.int16]:
    """Lattice points as the kernel reads them: [group, pair, lane, 2]."""
    count, coordinates = lattice.shape
    tiles = lattice.reshape(count // GROUP, GROUP, coordinates // 2, 2).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(tiles).reshape(-1)


def available() -> bool:
    """Whether the native search was built."""
    return _native is not None


def sum_by_center(
    rows: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    positions: NDArray[np.int32],
    sums: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> None:
    """Add weighted rows `[n, width]` and weights to the `sums` and `totals` of their positions.

    Points are added in ascending order, so the sums do not depend on the number of threads.
    """
    assert _native is not None
    _native.sum_by_center(rows, weights, positions, sums, totals)
