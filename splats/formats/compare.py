"""How far the Gaussians in a written file are from those it was written from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..gaussians import Gaussians
from .contract import ROWS_PER_CHUNK, Format, LossReport, Source
from .frames import in_frame
from .sources import Reordered, random_access

FLOOR_LOG_SCALE = -20.0
"""Log scales are compared as if none were below this: 2e-9 units are invisible."""


@dataclass
class Errors:
    """Absolute differences, gathered chunk by chunk.

    Means in world units, log scales in nepers (0.01: 1 %), rotations in degrees, opacities in
    [0, 1], harmonics as stored. Harmonics that only one side has count in full.
    """

    largest: dict[str, float] = field(default_factory=dict)
    """Maximum by attribute."""
    total: dict[str, float] = field(default_factory=dict)
    """Sum by attribute."""
    count: dict[str, int] = field(default_factory=dict)
    """Number of values by attribute."""

    def add(self, source: Gaussians, written: Gaussians) -> None:
        """Compare row by row."""
        for name, values in _differences(source, written):
            if values.numel() == 0:
                continue
            self.largest[name] = max(self.largest.get(name, 0.0), float(values.max()))
            self.total[name] = self.total.get(name, 0.0) + float(values.double().sum())
            self.count[name] = self.count.get(name, 0) + values.numel()

    @property
    def means(self) -> dict[str, float]:
        """Mean by attribute."""
        return {name: total / self.count[name] for name, total in self.total.items()}


def measure_loss(source: Source, report: LossReport, written_by: Format) -> LossReport:
    """`report` with the errors of the file, which is read again.

    Args:
        source: What was written.
        report: As `Format.write` gave it.
        written_by: The format of the file.

    Raises:
        ValueError: The file holds another number of Gaussians than its writer said.
    """
    written = in_frame(written_by.open(report.path))
    expected = source.num_primitives if report.order is None else len(report.order)
    if written.num_primitives != expected:
        raise ValueError(
            f"{report.path} holds {written.num_primitives} Gaussians, expected {expected}; "
            "the writer of this format is at fault."
        )
    errors = Errors()
    source = in_frame(source)
    if report.order is None:
        _gather(errors, source, written)
    else:
        with random_access(source) as rows:
            _gather(errors, Reordered(rows, report.order), written)
    return replace(report, max_errors=errors.largest, mean_errors=errors.means)


def _gather(errors: Errors, source: Source, written: Source) -> None:
    for first, second in zip(_even(source), _even(written), strict=True):
        errors.add(first, second)


def _even(source: Source) -> Iterator[Gaussians]:
    """Chunks of exactly `ROWS_PER_CHUNK`, save the last, from chunks of any lengths."""
    waiting: list[Gaussians] = []
    count = 0
    for chunk in source.chunks(ROWS_PER_CHUNK):
        waiting.append(chunk)
        count += len(chunk)
        while count >= ROWS_PER_CHUNK:
            joined = waiting[0] if len(waiting) == 1 else _joined(waiting)
            yield joined[:ROWS_PER_CHUNK]
            waiting, count = [joined[ROWS_PER_CHUNK:]], count - ROWS_PER_CHUNK
    if count:
        yield _joined(waiting)


def _joined(chunks: list[Gaussians]) -> Gaussians:
    return Gaussians(
        means=torch.cat([chunk.means for chunk in chunks]),
        quats=torch.cat([chunk.quats for chunk in chunks]),
        log_scales=torch.cat([chunk.log_scales for chunk in chunks]),
        logit_opacities=torch.cat([chunk.logit_opacities for chunk in chunks]),
        sh0=torch.cat([chunk.sh0 for chunk in chunks]),
        shN=torch.cat([chunk.shN for chunk in chunks]),
    )


def _differences(a: Gaussians, b: Gaussians) -> Iterator[tuple[str, Tensor]]:
    yield "means", (a.means.double() - b.means).abs()
    scales = a.log_scales.clamp(min=FLOOR_LOG_SCALE) - b.log_scales.clamp(min=FLOOR_LOG_SCALE)
    yield "log_scales", scales.abs()
    yield "rotations", rotation_errors(a.quats, b.quats)
    yield "opacities", (a.logit_opacities.sigmoid() - b.logit_opacities.sigmoid()).abs()
    yield "sh0", (a.sh0 - b.sh0).abs()
    shared = min(a.shN.shape[1], b.shN.shape[1])
    more = a.shN[:, shared:] if a.shN.shape[1] > shared else b.shN[:, shared:]
    differences = (a.shN[:, :shared] - b.shN[:, :shared]).abs()
    yield "shN", torch.cat([differences, more.abs()], dim=1)


def rotation_errors(a: Tensor, b: Tensor) -> Tensor:
    """Angles [N] in degrees between rotations given as quaternions [N, 4] of any length.

    Those of length zero count as the identity. From the chord, which stays exact near zero.
    """
    first, second = _unit(a), _unit(b)
    chord = torch.minimum((first - second).norm(dim=1), (first + second).norm(dim=1))
    return (4 * (chord / 2).clamp(max=1).asin() * (180 / math.pi)).float()


def _unit(quats: Tensor) -> Tensor:
    values = quats.double()
    largest = values.abs().amax(1, keepdim=True)
    values = values / torch.where(largest > 0, largest, 1)
    values[:, 0] += (largest[:, 0] == 0).to(values)
    return values / values.norm(dim=1, keepdim=True)
