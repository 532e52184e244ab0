"""The largest file within a number of bytes."""

from __future__ import annotations

import math
from collections.abc import Callable

from vq.asset import AssetWriter

_TRIALS = 9
_CLOSE = 0.98
"""A file that fills this share of its budget is close enough."""


def largest_fitting(
    written: Callable[[float], AssetWriter], target_size: int, *, low: float, high: float
) -> AssetWriter:
    """The largest of a few files within a size, by halving the logarithm of what makes them large.

    Args:
        written: The file of a value; larger values make larger files.
        target_size: Most bytes.
        low: The smallest value, positive.
        high: The largest, which is tried first.

    Raises:
        ValueError: Even the file of `low` is larger than `target_size`.
    """
    best = written(low)
    size = smallest = len(best.to_bytes())
    if smallest > target_size:
        raise ValueError(
            f"`target_size` {target_size} is less than the {smallest} bytes of the smallest file; "
            "allow more bytes."
        )
    ends = [math.log(low), math.log(high)]
    for trial in range(_TRIALS):
        middle = ends[1] if trial == 0 else 0.5 * sum(ends)
        candidate = written(math.exp(middle))
        found = len(candidate.to_bytes())
        if found > target_size:
            ends[1] = middle
            continue
        ends[0] = middle
        if found > size:
            best, size = candidate, found
        if trial == 0 or found > _CLOSE * target_size:
            break
    return best
