"""The largest file within a number of bytes."""

from __future__ import annotations

import math
from collections.abc import Callable

from vq.asset import AssetWriter

_TRIALS = 9
_CLOSE = 0.98
"""A file that fills this share of its budget is close enough."""
_AIM = 0.99
"""Share of the budget that trials aim at."""
_USUAL_SLOPE, _LEAST_SLOPE = 0.4, 0.1
"""Of the logarithm of sizes over that of values, before two trials are known and at least."""
_MARGIN = 0.1
"""Of what is left of the search, on either side of a trial."""


def largest_fitting(
    written: Callable[[float], AssetWriter], target_size: int, *, low: float, high: float
) -> AssetWriter:
    """The largest of a few files within a size, sizes being nearly powers of a value.

    Args:
        written: The file of a value; larger values make larger files.
        target_size: Most bytes.
        low: The smallest value, positive.
        high: The largest.

    Raises:
        ValueError: Even the file of `low` is larger than `target_size`.
    """
    under: _Trial | None = None
    over: _Trial | None = None
    seen: list[_Trial] = []
    best: AssetWriter | None = None
    ends = math.log(low), math.log(high)
    at = 0.5 * sum(ends)
    for _ in range(_TRIALS):
        candidate = written(math.exp(at))
        size = len(candidate.to_bytes())
        seen.append((at, math.log(size)))
        if size > target_size:
            if at == ends[0]:
                raise ValueError(
                    f"`target_size` {target_size} is less than the {size} bytes of the smallest "
                    "file; allow more bytes."
                )
            over = seen[-1]
        else:
            if under is None or seen[-1][1] > under[1]:
                under, best = seen[-1], candidate
            if size > _CLOSE * target_size or at == ends[1]:
                break
        aim = math.log(_AIM * target_size)
        at = min(max(_next(aim, under, over, seen), ends[0]), ends[1])
    if best is None:  # no trial was small enough: the smallest file is what is left
        return largest_fitting(written, target_size, low=low, high=low)
    return best


_Trial = tuple[float, float]
"""Logarithms of a value and of the size of its file."""


def _next(aim: float, under: _Trial | None, over: _Trial | None, seen: list[_Trial]) -> float:
    """Where the logarithm of the size should be `aim`."""
    if under is not None and over is not None:
        share = (aim - under[1]) / max(over[1] - under[1], 1e-9)
        return under[0] + min(max(share, _MARGIN), 1 - _MARGIN) * (over[0] - under[0])
    at, size = seen[-1]
    slope = _USUAL_SLOPE
    if len(seen) > 1 and seen[-2][0] != at:
        slope = max((size - seen[-2][1]) / (at - seen[-2][0]), _LEAST_SLOPE)
    return at + (aim - size) / slope
