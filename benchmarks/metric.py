"""One measured figure and how it may be judged against a baseline."""

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
    direction: Literal["higher", "lower"]
    """Which way is better."""
    tolerance: float
    """Relative worsening against the baseline that still passes: loose for times."""
    limit: float | None = None
    """The target, rival's figure or physical limit it is compared with; None if there is none."""

    @property
    def ratio(self) -> float | None:
        """`value` divided by `limit`."""
        return None if not self.limit else self.value / self.limit

    def regressed(self, baseline: float) -> bool:
        """Whether the figure is worse than `baseline` by more than the tolerance."""
        worse = baseline - self.value if self.direction == "higher" else self.value - baseline
        return worse > self.tolerance * abs(baseline)
