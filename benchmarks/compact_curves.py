"""Curves of PSNR over bytes: what one has where another stands."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from .compact_runs import Scored
from .metric import Metric


def beside(label: str, ours: Sequence[Scored], rival: Scored) -> Iterator[Metric]:
    """How much smaller a curve is at a rival's PSNR, and how much better at its size; at least so
    much where the curve ends above or before the rival."""
    if (size := bytes_at(ours, rival.psnr)) is not None:
        times = rival.num_bytes / size
        yield Metric(f"{label}: smaller at its PSNR", times, "x", "higher", 0.1, 3.0)
    at_size = psnr_at(ours, rival.num_bytes)
    if at_size is None and rival.num_bytes >= max(row.num_bytes for row in ours):
        at_size = max(row.psnr for row in ours)
    if at_size is not None:
        gain = at_size - rival.psnr
        yield Metric(f"{label}: gain at its size", gain, "dB", "higher", 0.1, 0.5)


def psnr_at(rows: Sequence[Scored], num_bytes: float) -> float | None:
    """Of the points on a curve, by linear interpolation in the logarithm of bytes; None outside."""
    ordered = sorted(rows, key=lambda row: row.num_bytes)
    for first, second in pairwise(ordered):
        if first.num_bytes <= num_bytes <= second.num_bytes:
            span = math.log(second.num_bytes / first.num_bytes) or 1.0
            share = math.log(num_bytes / first.num_bytes) / span
            return first.psnr + share * (second.psnr - first.psnr)
    return None


def bytes_at(rows: Sequence[Scored], psnr: float) -> float | None:
    """Where a curve first reaches `psnr`, interpolated as in `psnr_at`; None if it never does."""
    ordered = sorted(rows, key=lambda row: row.num_bytes)
    if ordered and ordered[0].psnr >= psnr:
        return ordered[0].num_bytes
    for first, second in pairwise(ordered):
        if first.psnr < psnr <= second.psnr:
            share = (psnr - first.psnr) / (second.psnr - first.psnr)
            return first.num_bytes * (second.num_bytes / first.num_bytes) ** share
    return None
