"""Rows of small integers as bytes: context coding by the kernels, or by their twin without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import reference
from .reference import MAX_MAGNITUDE, NEIGHBORS
from .tables import tables

try:
    from vq import _native
except ImportError:
    _native = None

SEGMENT_ROWS = 1 << 18
"""Rows that share adaptive probabilities; segments are coded in parallel."""
MAX_DIMS = 1024
COUNT_LIMIT = 127
"""Slowest adaptation, 1 / 128.5 of the error: follows what changes along the rows."""
STATIONARY = 1023
"""The `count_limit` for rows whose statistics do not change."""


@dataclass(frozen=True)
class Rounding:
    """How the encoder rounds: to the integer of least |x - value|^2 + trade * bits."""

    scaled: NDArray[np.float32]
    """Coefficients in units of the step, [n, d]."""
    centroids: NDArray[np.float32]
    """Where 1, 2 and 3 are reconstructed, in steps, [d, 3]; larger ones m lie at the last + m - 3.
    """
    trade: float
    """Squared steps that a bit is worth; 0 rounds to the nearest."""


def encode_coefficients(
    values: NDArray[np.int32],
    *,
    rounding: Rounding | None = None,
    neighbors: NDArray[np.int32] | None = None,
    count_limit: int = COUNT_LIMIT,
) -> list[bytes]:
    """One stream for each segment of `SEGMENT_ROWS` rows.

    Args:
        values: [n, d], magnitudes up to 2^20; filled in by the encoder if `rounding` is given.
        rounding: Choose the values by rate and distortion.
        neighbors: Rows to predict each row from, [n, 8]: earlier rows counted from the segment's
            beginning, nearest first, then -1. None takes the eight rows before.
        count_limit: Slowest adaptation of a probability, in [0, 1023].

    Raises:
        ValueError: A value is too large or there are more than 1024 columns.
    """
    if values.ndim != 2 or not 1 <= values.shape[1] <= MAX_DIMS:
        raise ValueError(f"`values` must be [n, 1..{MAX_DIMS}], got {list(values.shape)}.")
    if rounding is None and values.size and np.abs(values).max() > MAX_MAGNITUDE:
        raise ValueError(
            f"`values` reaches {np.abs(values).max():,}, more than {MAX_MAGNITUDE:,}; "
            "use a larger step."
        )
    values, chosen = np.ascontiguousarray(values, dtype=np.int32), values
    if _native is not None:
        streams = _native.encode_coefficients(
            values,
            None if rounding is None else np.ascontiguousarray(rounding.scaled, np.float32),
            None if rounding is None else np.ascontiguousarray(rounding.centroids, np.float32),
            0.0 if rounding is None else rounding.trade,
            tables().arrays(),
            count_limit,
            SEGMENT_ROWS,
            neighbors,
        )
    else:
        streams = _encode_in_python(values, rounding, neighbors, count_limit)
    if values is not chosen:
        chosen[:] = values
    return streams


def decode_coefficients(
    streams: Sequence[bytes],
    num_rows: int,
    num_dims: int,
    *,
    neighbors: NDArray[np.int32] | None = None,
    count_limit: int = COUNT_LIMIT,
) -> NDArray[np.int32] | None:
    """The values [n, d] of `streams`; None if no encoder wrote them.

    The arguments are those of the encoder; the caller has bounded `num_rows * num_dims`.
    """
    values = np.zeros((num_rows, num_dims), dtype=np.int32)
    if len(streams) != num_segments(num_rows):
        return None
    if _native is not None:
        valid = _native.decode_coefficients(
            list(streams), values, tables().arrays(), count_limit, SEGMENT_ROWS, neighbors
        )
        return values if valid else None
    for index, stream in enumerate(streams):
        part = slice(index * SEGMENT_ROWS, (index + 1) * SEGMENT_ROWS)
        beside = _neighbors(None if neighbors is None else neighbors[part])
        if not reference.decode_segment(stream, values[part], beside, tables(), count_limit):
            return None
    return values


def num_segments(num_rows: int) -> int:
    """Streams that so many rows make."""
    return -(-num_rows // SEGMENT_ROWS)


def _encode_in_python(
    values: NDArray[np.int32],
    rounding: Rounding | None,
    neighbors: NDArray[np.int32] | None,
    count_limit: int,
) -> list[bytes]:
    streams = []
    for begin in range(0, len(values), SEGMENT_ROWS):
        part = slice(begin, begin + SEGMENT_ROWS)
        choose = None
        if rounding is not None:
            choose = _chooser(rounding.scaled[part], rounding.centroids, rounding.trade)
        beside = _neighbors(None if neighbors is None else neighbors[part])
        streams.append(
            reference.encode_segment(values[part], beside, tables(), count_limit, choose)
        )
    return streams


def _chooser(
    scaled: NDArray[np.float32], centroids: NDArray[np.float32], trade: float
) -> Callable[[reference.Model, int, int], int]:
    def choose(model: reference.Model, row: int, dim: int) -> int:
        return reference.rounded(model, float(scaled[row, dim]), centroids[dim], trade)

    return choose


def _neighbors(table: NDArray[np.int32] | None) -> Callable[[int], Sequence[int]]:
    if table is None:
        return lambda row: range(row - 1, max(row - 1 - NEIGHBORS, -1), -1)

    def listed(row: int) -> list[int]:
        found = table[row].tolist()
        return found[: found.index(-1)] if -1 in found else found

    return listed
