"""Measure this machine and compare it with the committed baseline."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from .common import Common, console


@dataclass(frozen=True, kw_only=True)
class Bench(Common):
    """Measure one suite."""

    suite: Annotated[str, tyro.conf.Positional]
    """Which suite to run; a wrong name lists them all."""
    quick: bool = False
    """Small scenes and budgets for the inner loop; nothing is recorded."""
    gate: bool = False
    """Fail if a figure is worse than the baseline allows."""
    update_baseline: bool = False
    """Make the figures the baseline of this class of machine."""


def run(config: Bench) -> dict[str, Any]:
    """Measure, print, record, and judge where asked to; returns the rows."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / "benchmarks" / "suite.py").exists():
        raise FileNotFoundError(
            f"{checkout / 'benchmarks'} is missing: benchmarks are not part of the wheel; "
            "run this from a source checkout installed with pip install -e ."
        )
    if config.quick and (config.gate or config.update_baseline):
        raise ValueError("`--quick` figures cannot be gated or recorded; leave --quick out.")
    if str(checkout) not in sys.path:
        sys.path.append(str(checkout))
    from benchmarks import suite

    metrics = []
    written: list[Path] = []
    for metric in suite.run_suite(config.suite, quick=config.quick):
        metrics.append(metric)
        judged = metric.met is not None and not config.quick
        verdict = f", limit {'met' if metric.met else 'MISSED'}" if judged else ""
        console.print(f"{metric.name:<75} {metric.value:10.4g} {metric.unit}{verdict}")
        if not config.quick:
            # Every time: a long suite that is cut short keeps what it measured.
            written = suite.record(config.suite, metrics)
    for path in written:
        console.print(f"Wrote {path}")
    if config.update_baseline:
        console.print(f"Wrote {suite.update_baseline(config.suite, metrics)}")
    elif config.gate and (worse := suite.regressions(config.suite, metrics)):
        raise ValueError("worse than the baseline: " + "; ".join(worse))
    return {"suite": config.suite, "rows": [asdict(metric) for metric in metrics]}
