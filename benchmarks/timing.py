"""Wall times of calls that are compared with each other, taken in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of one call."""

    best: float
    """Fastest repetition: the machine at its least disturbed."""
    median: float
    """What one usually waits."""


def compare(calls: Mapping[str, Callable[[], object]], *, rounds: int = 7) -> dict[str, Timing]:
    """Time every call once per round, after one unmeasured round.

    Taking turns exposes all calls to the same disturbances, so that their ratios hold even where
    the times themselves drift.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number > 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing(min(taken), statistics.median(taken)) for name, taken in seconds.items()}
