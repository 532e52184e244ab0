"""Showing a run's progress: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress


@dataclass(frozen=True)
class Report:
    """How far a run is."""

    step: int
    """Steps done."""
    fraction: float
    """Spent share of the budget, in [0, 1]."""
    steps_per_second: float
    """Recent speed; 0 while unknown."""
    remaining_seconds: float
    """Expected time left; infinite while unknown."""
    num_primitives: int
    """Current number of Gaussians or other parts."""
    loss: float | None = None
    """The loss last read."""
    psnr: float | None = None
    """The last PSNR in decibels: of the held-out preview if there is one, else of training."""

    def __str__(self) -> str:
        parts = [f"step {self.step}"]
        if self.loss is not None:
            parts.append(f"loss {self.loss:.4f}")
        if self.psnr is not None:
            parts.append(f"PSNR {self.psnr:.2f}")
        parts.append(f"{self.num_primitives:,} primitives")
        if self.steps_per_second > 0:
            parts.append(f"{self.steps_per_second:.1f} steps/s")
        if math.isfinite(self.remaining_seconds):
            parts.append(f"ETA {format_seconds(self.remaining_seconds)}")
        return "  ".join(parts)


@runtime_checkable
class Progress(Protocol):
    """Where a run shows how far it is. Made by scripts, which own the console."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def refresh(self, report: Report) -> None:
        """Called a few times per second."""
        ...

    def log(self, report: Report) -> None:
        """Called every `Cadence.log_every` steps, with fresh loss and PSNR."""
        ...


class BarProgress:
    """A bar that stays on one line of a terminal."""

    def __init__(self, console: Console, *, description: str = "train") -> None:
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[report]}"),
            console=console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task(description, total=1.0, report="")

    def __enter__(self) -> BarProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def refresh(self, report: Report) -> None:
        """Move the bar and replace the text beside it."""
        self._bar.update(self._task, completed=report.fraction, report=str(report))

    def log(self, report: Report) -> None:
        """The same as `refresh`."""
        self.refresh(report)


class LineProgress:
    """One line per log, for pipes and files."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def refresh(self, report: Report) -> None:
        """Nothing: only logs make lines."""

    def log(self, report: Report) -> None:
        """Write the report as one line."""
        self._console.print(str(report), highlight=False, soft_wrap=True)


def make_progress(console: Console, *, description: str = "train") -> Progress:
    """A bar where `console` is a terminal, lines where it is not.

    The stream is asked, not rich: rich counts a pipe as a terminal where FORCE_COLOR is set.
    """
    if console.file.isatty():
        return BarProgress(console, description=description)
    return LineProgress(console)


def format_seconds(seconds: float) -> str:
    """Seconds as 45s, 2:05 or 1:02:05."""
    total = round(seconds)
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest}s"
