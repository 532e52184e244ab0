"""Gaussians to the byte tables of a SOG scene.

The Gaussians are gone through twice: first everything but the harmonics is kept as 44 bytes each,
and harmonics of at most a million Gaussians, from which the palette is learned; then the palette
entries of all are looked up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from ..gaussians import Gaussians
from .contract import Source
from .hilbert import hilbert_order
from .sog_codebook import LEVELS, fit_codebook, nearest_levels
from .sog_meta import COEFFICIENTS, MIN_ALPHA, SogMeta
from .sog_palette import fit_palette, palette_size
from .sog_tables import SogTables

MAX_LOG_SCALE = 50.0
"""Log scales are set to at most this far from 0, so that a flat axis spoils no codebook."""

_MAX_TRAINING_ROWS = 1 << 20
_MAX_LOGIT = math.log((1 - MIN_ALPHA) / MIN_ALPHA)


@dataclass(frozen=True)
class SogPlan:
    """What a writer has chosen for a scene."""

    version: int
    """1 or 2."""
    palette_size: int | None
    """Most palette entries; None: the power of two below the number of Gaussians."""
    iterations: int
    """Of k-means for the palette."""


@dataclass(frozen=True)
class _Columns:
    """All Gaussians in file order, without their harmonics."""

    means: NDArray[np.float32]
    quats: NDArray[np.uint8]
    log_scales: NDArray[np.float32]
    logits: NDArray[np.float32]
    sh0: NDArray[np.float32]


def encode_tables(
    source: Source, plan: SogPlan, *, runs: Sequence[int] | None = None
) -> tuple[SogTables, NDArray[np.int64]]:
    """The byte tables of `source` along a Hilbert curve, and the row of `source` of each row.

    Args:
        source: Gone through twice.
        plan: What was chosen.
        runs: Lengths of runs of rows that stay together, each in its own curve; None: one run.

    Raises:
        ValueError: NaN, or infinite means, quaternions or colors.
    """
    columns, harmonics = _gather(source)
    starts = np.cumsum([0, *(runs or [len(columns.means)])])
    order = np.concatenate(
        [start + hilbert_order(columns.means[start:end]) for start, end in pairwise(starts)]
    )
    columns = _Columns(
        columns.means[order],
        columns.quats[order],
        columns.log_scales[order],
        columns.logits[order],
        columns.sh0[order],
    )
    meta = _meta(columns, plan, source)
    logs = to_log(columns.means.astype(np.float64))
    span = np.where(meta.maxs > meta.mins, meta.maxs - meta.mins, 1.0)
    axes = range(3)
    alphas = _alpha_bytes(columns.logits, meta)
    tables = SogTables(
        meta=meta,
        means=np.rint((logs - meta.mins) / span * 65535).clip(0, 65535).astype(np.uint16),
        quats=columns.quats,
        scales=_to_bytes(columns.log_scales, [meta.scale_table[axis] for axis in axes]),
        sh0=np.column_stack(
            [_to_bytes(columns.sh0, [meta.color_table[axis] for axis in axes]), alphas]
        ),
        labels=None,
        palette=None,
    )
    if source.sh_degree > 0:
        tables = _with_palette(tables, source, harmonics, order, plan)
    return tables, order


def to_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """sign(x) ln(1 + |x|), in which SOG spaces positions evenly."""
    return np.sign(values) * np.log1p(np.abs(values))


def _gather(source: Source) -> tuple[_Columns, torch.Tensor]:
    """Everything but the harmonics, and the harmonics [n, D] of an even sample."""
    stride = max(1, -(-source.num_primitives // _MAX_TRAINING_ROWS))
    parts: list[_Columns] = []
    samples = []
    start = 0
    for chunk in source.chunks():
        _check_finite(chunk)
        parts.append(
            _Columns(
                chunk.means.numpy(),
                encode_quats(chunk.quats.numpy()),
                chunk.log_scales.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).numpy(),
                chunk.logit_opacities.clamp(-_MAX_LOGIT, _MAX_LOGIT).numpy(),
                chunk.sh0[:, 0].numpy(),
            )
        )
        samples.append(chunk.shN[-start % stride :: stride].flatten(1).clone())
        start += len(chunk)
    names = ("means", "quats", "log_scales", "logits", "sh0")
    joined = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    return _Columns(*joined), torch.cat(samples)


def _check_finite(chunk: Gaussians) -> None:
    for name in ("means", "quats", "log_scales", "logit_opacities", "sh0", "shN"):
        values = getattr(chunk, name)
        if values.numel() == 0:
            continue
        ends = torch.stack(values.aminmax())
        if bool(ends.isnan().any()) or (
            name not in ("log_scales", "logit_opacities") and not bool(ends.isfinite().all())
        ):
            raise ValueError(
                f"`{name}` must hold finite numbers, got NaN or infinity; remove such Gaussians "
                "before writing."
            )


def _meta(columns: _Columns, plan: SogPlan, source: Source) -> SogMeta:
    """Tables for the values of all Gaussians, without those of the palette."""
    logs = to_log(np.stack([columns.means.min(0), columns.means.max(0)]).astype(np.float64))
    alphas = (np.arange(256) / 255).clip(MIN_ALPHA, 1 - MIN_ALPHA)
    if plan.version == 1:
        scales, colors = _linear(columns.log_scales), _linear(columns.sh0)
        logits = _linear(columns.logits[:, None])[0]
    else:
        scales = np.tile(fit_codebook(columns.log_scales), (3, 1))
        colors = np.tile(fit_codebook(columns.sh0), (3, 1))
        logits = np.log(alphas / (1 - alphas)).astype(np.float32)
    return SogMeta(
        version=plan.version,
        count=len(columns.means),
        model="antialiased" if source.antialiased else "2dgs" if source.model == "2dgs" else "",
        mins=logs[0],
        maxs=logs[1],
        scale_table=scales,
        color_table=colors,
        logit_table=logits,
        palette_table=None,
        palette_count=None,
        bands=None,
        names={},
    )


def _linear(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Evenly spaced levels [columns, 256] between the smallest and the largest of each column."""
    low, high = values.min(0)[:, None].astype(np.float64), values.max(0)[:, None]
    return (low + (high - low) * (np.arange(LEVELS) / 255)).astype(np.float32)


def _to_bytes(values: NDArray[np.float32], tables: list[NDArray[np.float32]]) -> NDArray[np.uint8]:
    columns = [nearest_levels(values[:, axis], table) for axis, table in enumerate(tables)]
    return np.stack(columns, axis=1)


def _alpha_bytes(logits: NDArray[np.float32], meta: SogMeta) -> NDArray[np.uint8]:
    if meta.version == 1:
        return nearest_levels(logits, meta.logit_table)
    return np.rint(255 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.uint8)


def encode_quats(quats: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Bytes [n, 4] of quaternions (w, x, y, z) of any length; the identity for length zero."""
    wide = quats.astype(np.float64)
    lengths = np.sqrt(np.square(wide).sum(1, keepdims=True))
    unit = np.where(lengths > 0, wide / np.where(lengths > 0, lengths, 1), [1.0, 0, 0, 0])
    largest = np.abs(unit).argmax(1)[:, None]
    others = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[largest[:, 0]]
    signs = np.where(np.take_along_axis(unit, largest, 1) < 0, -1.0, 1.0)
    small = np.take_along_axis(unit, others, 1) * signs * math.sqrt(2)
    packed = np.rint((small + 1) * 127.5).clip(0, 255)
    return np.concatenate([packed, 252 + largest], axis=1).astype(np.uint8)


def _with_palette(
    tables: SogTables,
    source: Source,
    harmonics: torch.Tensor,
    order: NDArray[np.int64],
    plan: SogPlan,
) -> SogTables:
    """`tables` with a palette learned from `harmonics` and the entry of every Gaussian."""
    size = palette_size(len(order)) if plan.palette_size is None else plan.palette_size
    palette = fit_palette(harmonics, size, iterations=plan.iterations)
    entries = palette.entries.numpy().reshape(-1, COEFFICIENTS[source.sh_degree], 3)
    table = _linear(entries.reshape(-1, 1))[0] if plan.version == 1 else fit_codebook(entries)
    labels = np.concatenate(
        [palette.search(chunk.shN.flatten(1))[0].numpy() for chunk in source.chunks(1 << 18)]
    )
    return replace(
        tables,
        meta=replace(
            tables.meta,
            palette_table=table,
            palette_count=len(entries),
            bands=source.sh_degree,
        ),
        labels=labels[order].astype(np.uint16),
        palette=nearest_levels(entries, table),
    )
