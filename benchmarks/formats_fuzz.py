"""Damaged splat files of every format, read by the hundred thousand."""

from __future__ import annotations

from collections.abc import Iterator

from .format_fuzzing import NAMES
from .fuzzing import MEMORY_BYTES, fuzz
from .metric import Metric

CASES = 200_000
"""Files per format."""


def run(*, quick: bool) -> Iterator[Metric]:
    """For each format the number of files, crashes and hangs, and the most memory."""
    for ending in NAMES:
        factory = f"benchmarks.format_fuzzing:target_{ending.replace('.', '_')}"
        report = fuzz(factory, 1_000 if quick else CASES, num_processes=2)
        found = report.outcomes
        name = f"damaged {ending} files"
        yield Metric(f"{name}: read", report.cases, "", "higher", 0.0, None if quick else CASES)
        for kind in ("crash", "hang", "wrong"):
            yield Metric(f"{name}: outcome {kind}", found[kind], "", "lower", 0.0, 0)
        yield Metric(f"{name}: refused", found["refused"] / report.cases, "of all")
        limit = MEMORY_BYTES / 1e6
        yield Metric(f"{name}: most memory", report.peak_bytes / 1e6, "MB", "lower", 1.0, limit)
