"""Wall time of a call: the best of several after a warm-up, and their median."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of one call."""

    best: float
    """Fastest repetition: the machine at its least disturbed."""
    median: float
    """What one usually waits."""


def measure(call: Callable[[], object], *, repeats: int = 5) -> Timing:
    """Time `call` `repeats` times after one unmeasured warm-up."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return Timing(min(seconds), statistics.median(seconds))
