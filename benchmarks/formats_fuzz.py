"""Damaged splat files of every format, read by the hundred thousand."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from .format_fuzzing import NAMES
from .fuzzing import MEMORY_BYTES, fuzz
from .metric import Metric

logger = logging.getLogger(__name__)

CASES = 200_000
"""Files per format."""


def run(*, quick: bool) -> Iterator[Metric]:
    """For each format crashes, hangs and memory; then what holds for all of them."""
    cases, most_memory, failures = [], 0, 0
    for ending in NAMES:
        factory = f"benchmarks.format_fuzzing:target_{ending.replace('.', '_')}"
        report = fuzz(factory, 1_000 if quick else CASES, num_processes=2)
        for case, detail in report.failures:
            logger.warning("%s, case %d: %s", ending, case, detail)
        cases.append(report.cases)
        most_memory = max(most_memory, report.peak_bytes)
        name = f"{report.cases:,} damaged {ending} files"
        for kind in ("crash", "hang", "wrong"):
            failures += report.outcomes[kind]
            yield Metric(f"{name}: {kind}", report.outcomes[kind], "", "lower", 0.0, 0)
        yield Metric(f"{name}: refused", report.outcomes["refused"] / report.cases, "of all")
        yield Metric(f"{name}: memory", report.peak_bytes / 1e6, "MB", "lower", 1.0)
    name = f"damaged files of {len(NAMES)} formats"
    yield Metric(f"{name}: read of each", min(cases), "", "higher", 0.0, CASES)
    yield Metric(f"{name}: crash, hang or wrong", failures, "", "lower", 0.0, 0)
    limit = MEMORY_BYTES / 1e6
    yield Metric(f"{name}: most memory", most_memory / 1e6, "MB", "lower", 1.0, limit)
