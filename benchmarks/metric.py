"""One measured figure, the limit it is held to and how it may be judged against a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A named figure of one suite."""

    name: str
    """What was measured, unique within its suite."""
    value: float
    """The figure in `unit`."""
    unit: str
    """Unit of `value`; "x" for ratios."""
    direction: Literal["higher", "lower"] | None = None
    """Which way is better; None for figures that only describe the others."""
    tolerance: float = 0.0
    """Relative worsening against the baseline that still passes: loose for times."""
    limit: float | None = None
    """The worst value that the project accepts; None if it promises nothing."""

    @property
    def met(self) -> bool | None:
        """Whether the figure keeps its limit; None if there is none."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.direction == "higher" else self.value <= self.limit

    def regressed(self, baseline: float) -> bool:
        """Whether the figure is worse than `baseline` by more than the tolerance."""
        if self.direction is None:
            return False
        worse = baseline - self.value if self.direction == "higher" else self.value - baseline
        return worse > self.tolerance * abs(baseline)
