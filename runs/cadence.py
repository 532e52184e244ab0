"""How often a run saves, logs and previews."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cadence:
    """How often a run saves, logs and previews."""

    checkpoint_every_steps: int | None = None
    """Steps between checkpoints; None leaves it to the clock."""
    checkpoint_every_seconds: float | None = 60.0
    """Seconds between checkpoints; None leaves it to the steps."""
    keep_checkpoints: int = 2
    """Number of checkpoints kept; the second newest stands in for a damaged newest one."""
    log_every: int = 100
    """Steps between rows of metrics.jsonl."""
    preview_every: int | None = 1000
    """Steps between held-out previews, None for none."""

    def __post_init__(self) -> None:
        for name in ("checkpoint_every_steps", "keep_checkpoints", "log_every", "preview_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        seconds = self.checkpoint_every_seconds
        if seconds is not None and not seconds > 0:
            raise ValueError(f"`checkpoint_every_seconds` must be above 0, got {seconds}.")
