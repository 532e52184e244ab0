"""The recent speed of a run."""

from __future__ import annotations

from collections import deque


class Pace:
    """Steps per second over the last seconds."""

    def __init__(self, *, window: float = 10.0) -> None:
        """Average over `window` seconds: long enough to be calm, short enough to follow growth."""
        self._window = window
        self._marks: deque[tuple[float, int]] = deque()

    def update(self, elapsed: float, step: int) -> float:
        """Note that `step` steps are done after `elapsed` seconds; returns the speed, first 0."""
        self._marks.append((elapsed, step))
        while len(self._marks) > 2 and elapsed - self._marks[0][0] > self._window:
            self._marks.popleft()
        first_elapsed, first_step = self._marks[0]
        if elapsed <= first_elapsed:
            return 0.0
        return (step - first_step) / (elapsed - first_elapsed)
