"""Sets of points: the refund of their order, a real SPZ file without loss, and speed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splats.formats.spz import read_packed
from splats.formats.spz_quantization import PackedSpz
from vq import sets

from .command import real_data
from .metric import Metric
from .timing import compare

SCALES = ("scale 0", "scale 1", "scale 2")
PARENTS = {
    "green": SCALES,
    "blue": ("green",),
    "red": ("blue", "green"),
    "alpha": (*SCALES, "green"),
    "largest": SCALES,
    "rotation 0": SCALES,
    "rotation 1": SCALES,
    "rotation 2": SCALES,
}
"""What predicts the integers of an SPZ file: neighbors whose scales are ordered alike have their
axes ordered alike, and therefore like rotations."""
ATTRIBUTES = {
    "positions": ("positions",),
    "scales": SCALES,
    "colors": ("green", "blue", "red"),
    "alphas": ("alpha",),
    "rotations": ("largest", "rotation 0", "rotation 1", "rotation 2"),
}
"""Parts of the code by attribute of the file."""


def run(*, quick: bool) -> Iterator[Metric]:
    """Refund on uniform points, bits per attribute of a real file, values per second."""
    yield from _refund(20_000 if quick else 1_000_000)
    biker = real_data("splats/biker/biker.spz")
    if biker is not None:
        yield from _recode(biker, quick)


def spz_columns(packed: PackedSpz) -> dict[str, NDArray[np.integer]]:
    """The integers of a file of version 4 and degree 0 by column; its positions are left out."""
    columns: dict[str, NDArray[np.integer]] = {
        name: packed.scales[:, axis] for axis, name in enumerate(SCALES)
    }
    columns |= {"green": packed.colors[:, 1], "blue": packed.colors[:, 2]}
    columns |= {"red": packed.colors[:, 0], "alpha": packed.alphas}
    columns["largest"] = (packed.rotations >> 30).astype(np.uint8)
    for component in range(3):
        field = (packed.rotations >> 20 - 10 * component & 1023).astype(np.int16)
        size = field & 511
        # Sign and magnitude in the order of the numbers they stand for, with both zeros.
        columns[f"rotation {component}"] = np.where(field >> 9, 511 - size, 512 + size)
    return columns


def spz_integers(positions: NDArray[np.int32], columns: dict[str, NDArray]) -> NDArray[np.int64]:
    """The file's integers, one row per Gaussian, from the columns of `spz_columns`."""
    rotations: NDArray[np.int64] = columns["largest"].astype(np.int64)
    for component in range(3):
        ordered = columns[f"rotation {component}"].astype(np.int64)
        field = np.where(ordered < 512, 512 | 511 - ordered, ordered - 512)
        rotations = rotations << 10 | field
    names = ("alpha", "red", "green", "blue", *SCALES)
    rows = [positions, *(columns[name] for name in names), rotations]
    return np.column_stack(rows).astype(np.int64)


def _refund(count: int) -> Iterator[Metric]:
    """Bits saved against bits that the order of uniform points is worth."""
    points = np.random.default_rng(0).integers(0, 1 << 16, (count, 3)).astype(np.uint16)
    order = math.lgamma(count + 1) / math.log(2) / count
    for preset in ("small", "fast"):
        data = sets.encode(points, {}, preset=preset)
        bits = 8 * len(data) / count
        yield Metric(
            f"order refund of {count:,} uniform points on a 16-bit lattice, {preset}",
            (48 - bits) / order,
            "x of log2(N!)/N",
            "higher",
            0.001,
            0.99,
        )
        yield Metric(f"bits per uniform point, {preset}", bits, "b", "lower", 0.001)


def _recode(path: Path, quick: bool) -> Iterator[Metric]:
    """A real file, checked to come back without loss."""
    packed = read_packed(path)
    columns = spz_columns(packed)
    count = len(packed)
    expected = _sorted(
        np.column_stack(
            [
                packed.positions,
                packed.alphas,
                packed.colors,
                packed.scales,
                packed.rotations.astype(np.int64),
            ]
        )
    )
    for preset in ("small", "fast"):
        data = sets.encode(packed.positions, columns, parents=PARENTS, preset=preset)
        if not np.array_equal(_sorted(spz_integers(*sets.decode(data))), expected):
            raise AssertionError(f"the {preset} preset changed {path.name}")
        yield Metric(
            f"size of {path.name} without loss up to order, {preset}",
            len(data) / path.stat().st_size,
            "x of its bytes",
            "lower",
            0.002,
            0.72 if preset == "small" else None,
        )
        cost = sets.breakdown(data)
        for attribute, parts in ATTRIBUTES.items():
            bits = 8 * sum(cost[part] for part in parts) / count
            yield Metric(f"{attribute} of {path.name}, {preset}", bits, "b/G", "lower", 0.005)
        if not quick:
            yield from _speed(packed, columns, data, preset)


def _speed(
    packed: PackedSpz, columns: dict[str, NDArray], data: bytes, preset: str
) -> Iterator[Metric]:
    """Coordinates and values per second on all threads."""
    values = len(packed) * (3 + len(columns)) / 1e6
    times = compare(
        {
            "encode": lambda: sets.encode(
                packed.positions, columns, parents=PARENTS, preset=preset
            ),
            "decode": lambda: sets.decode(data),
        },
        rounds=3,
    )
    for name, time in times.items():
        yield Metric(f"{name}, {preset}", values / time.best, "1e6 values/s", "higher", 0.3)


def _sorted(rows: NDArray[np.integer]) -> NDArray[np.int64]:
    rows = rows.astype(np.int64)
    return rows[np.lexsort(rows.T)]
