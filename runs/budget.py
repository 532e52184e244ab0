"""How long a run may train, in steps, in seconds or both."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """The limits of a run and how much of them is spent."""

    max_steps: int | None = None
    """Number of optimization steps, counted over all resumed sessions."""
    max_seconds: float | None = None
    """Wall-clock seconds, counted over all resumed sessions and including the final save."""
    save_share: float = 0.02
    """Share of `max_seconds` kept back for the final checkpoint and scene, in [0, 1)."""

    def __post_init__(self) -> None:
        if self.max_steps is None and self.max_seconds is None:
            raise ValueError("a budget needs `max_steps`, `max_seconds` or both, got neither.")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"`max_steps` must be at least 1, got {self.max_steps}.")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"`max_seconds` must be above 0, got {self.max_seconds}.")
        if not 0 <= self.save_share < 1:
            raise ValueError(f"`save_share` must be in [0, 1), got {self.save_share}.")

    @property
    def training_seconds(self) -> float | None:
        """Seconds in which steps may start; None without `max_seconds`."""
        return None if self.max_seconds is None else self.max_seconds * (1 - self.save_share)

    def progress(self, step: int, elapsed: float) -> float:
        """Spent share of the tighter limit, in [0, 1]; 1 means that the run is over.

        Without `max_seconds` it depends on `step` alone, which exact resume relies on.

        Args:
            step: Steps done.
            elapsed: Seconds since the clock started, earlier sessions included.
        """
        by_steps = 0.0 if self.max_steps is None else step / self.max_steps
        seconds = self.training_seconds
        by_time = 0.0 if seconds is None else elapsed / seconds
        return min(max(by_steps, by_time), 1.0)

    def remaining_seconds(self, step: int, elapsed: float, steps_per_second: float) -> float:
        """Expected seconds until the budget is spent; infinite while the speed is unknown (0)."""
        remaining = float("inf")
        if self.max_steps is not None and steps_per_second > 0:
            remaining = max(self.max_steps - step, 0) / steps_per_second
        if self.training_seconds is not None:
            remaining = min(remaining, max(self.training_seconds - elapsed, 0.0))
        return remaining
