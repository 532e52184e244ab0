"""Curves of PSNR over bytes: what one has where another stands."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from .compact_runs import BARS, VANILLA, Scored
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


def beside_vanilla(
    label: str,
    name: str,
    files: Mapping[str, Scored],
    smaller: float | None = None,
    loss: float | None = None,
) -> Iterator[Metric]:
    """Size and loss of one of `files` beside either vanilla, with the bars that it has to meet."""
    found = files[name]
    for of, (file, _) in VANILLA.items():
        vanilla = files[file]
        title = f"{label}: {name} beside {of}"
        times = vanilla.num_bytes / found.num_bytes
        yield Metric(f"{title}: smaller", times, "x", "higher", 0.05, smaller)
        lost = vanilla.psnr - found.psnr
        yield Metric(f"{title}: loss", lost, "dB", "lower", 0.5, loss)


def means(label: str, captures: Sequence[Mapping[str, Scored]]) -> Iterator[Metric]:
    """Of `compact` beside either vanilla over all captures, as the bars are stated."""
    smaller, loss = BARS["compact"]
    for of, (name, _) in VANILLA.items():
        ratios = [p[name].num_bytes / p["compact"].num_bytes for p in captures]
        losses = [p[name].psnr - p["compact"].psnr for p in captures]
        title = f"{label}mean of {len(captures)} captures: compact beside {of}"
        yield Metric(f"{title}: smaller", fmean(ratios), "x", "higher", 0.05, smaller)
        yield Metric(f"{title}: loss", fmean(losses), "dB", "lower", 0.5, loss)


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
