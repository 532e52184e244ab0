"""Writing `.ksplat` files, and the format as a plugin; see `ksplat` for the layout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from numpy import ndarray
from numpy.typing import NDArray

from runs.files import replacing

from ..gaussians import Gaussians
from ..sh import num_sh_bases
from .blocks import all_means
from .contract import FileSummary, LossReport, Source, refuse_existing
from .frames import in_frame
from .ksplat import (
    BLOCK_SIZE,
    BUCKET_SIZE,
    HEADER,
    SCALE_RANGE,
    SECTION,
    KsplatSource,
    bands,
    row_dtype,
    summarize_ksplat,
)
from .quantization import alpha_bytes, color_bytes, unit_quats
from .sources import Reordered, random_access

_MAX_DEGREE = 2  # viewers of this format draw no more
_MAX_HALF = 65504.0
_MIN_HALF = 2.0**-24
_MAX_FLOAT = 3e38


@dataclass(frozen=True)
class KsplatOptions:
    """What a writer of `.ksplat` lets one choose."""

    level: Literal[0, 1, 2] = 1
    """0 stores floats, 1 half floats and 16-bit positions, 2 also 8-bit harmonics."""
    block_size: float = BLOCK_SIZE
    """Side of the cells whose centers positions are relative to, world units; the step of a
    position is a 65534th of it."""


class KsplatFormat:
    """The `.ksplat` file as a `Format`."""

    suffixes = (".ksplat",)
    magic = b""
    Options = KsplatOptions

    def open(self, path: Path) -> KsplatSource:
        """See `KsplatSource`."""
        return KsplatSource(path)

    def summarize(self, path: Path) -> FileSummary:
        """See `summarize_ksplat`."""
        return summarize_ksplat(path)

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: KsplatOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """See `Format.write`; harmonics above degree 2 are left out with a note."""
        refuse_existing(path, overwrite=overwrite)
        options = options or KsplatOptions()
        degree = min(source.sh_degree, _MAX_DEGREE)
        count = source.num_primitives
        with random_access(in_frame(source)) as rows:
            buckets = _Buckets.of(all_means(rows), options)
            order = None if options.level == 0 else torch.from_numpy(buckets.order)
            ordered = rows if order is None else Reordered(rows, order)
            coefficients = num_sh_bases(degree) - 1
            sh_range = _sh_range(ordered, coefficients) if options.level == 2 else (-1.5, 1.5)
            with replacing(path) as file:
                file.write(_headers(count, degree, options, buckets, sh_range))
                if options.level:
                    file.write(buckets.partial.astype("<u4").tobytes())
                    file.write(buckets.centers.astype("<f4").tobytes())
                start = 0
                for chunk in ordered.chunks():
                    bucket = buckets.of_row[start : start + len(chunk)]
                    centers = buckets.centers[bucket] if options.level else None
                    file.write(_pack(chunk, degree, options, centers, sh_range).tobytes())
                    start += len(chunk)
        notes = []
        if source.sh_degree > degree:
            notes.append(f"Harmonics above degree {degree} were left out.")
        if source.antialiased:
            notes.append("The format cannot tell that the scene was trained antialiased.")
        return LossReport(path, path.stat().st_size, None, order=order, notes=tuple(notes))


@dataclass(frozen=True)
class _Buckets:
    """Which Gaussians are stored together, full buckets first."""

    order: Int64[ndarray, "N"]
    of_row: Int[ndarray, "N"]
    centers: Float[ndarray, "buckets 3"]
    full: int
    partial: Int64[ndarray, "partial"]

    @classmethod
    def of(cls, means: Float[ndarray, "N 3"], options: KsplatOptions) -> _Buckets:
        """Cells of a grid from the lowest corner, each cut into runs of 256."""
        count = len(means)
        if count == 0 or options.level == 0:
            none = np.zeros(0, np.int64)
            return cls(none, none, np.zeros((0, 3), np.float32), 0, none)
        low = means.min(0).astype(np.float64)
        order, fresh = _by_cell(means, low, options.block_size)
        starts = np.flatnonzero(fresh).astype(np.int32)
        inside = np.arange(count, dtype=np.int32) - starts[fresh.cumsum(dtype=np.int32) - 1]
        bucket = (fresh | (inside % BUCKET_SIZE == 0)).cumsum(dtype=np.int32) - 1
        del fresh, inside  # arrays of this length are what bounds the memory
        sizes = np.bincount(bucket)
        ranks = np.argsort(sizes < BUCKET_SIZE, kind="stable")
        place = np.empty(len(ranks), np.int32)
        place[ranks] = np.arange(len(ranks))
        of_row = place[bucket]
        by_bucket = np.argsort(of_row, kind="stable")
        firsts = order[np.concatenate([[0], sizes.cumsum()[:-1]])[ranks]]
        centers = low + (np.floor((means[firsts] - low) / options.block_size) + 0.5) * (
            options.block_size
        )
        full = int((sizes == BUCKET_SIZE).sum())
        return cls(
            order=order[by_bucket],
            of_row=of_row[by_bucket],
            centers=centers.astype(np.float32),
            full=full,
            partial=sizes[ranks][full:],
        )


def _by_cell(
    means: Float[ndarray, "N 3"], low: Float[ndarray, "3"], size: float
) -> tuple[Int64[ndarray, "N"], Bool[ndarray, "N"]]:
    """Order of the points by their cell of a grid, z first, and where a cell begins in it."""
    cells = [np.floor((means[:, axis] - low[axis]) / size) for axis in range(3)]
    extents = [float(cell.max()) + 1 for cell in cells]
    if math.prod(extents) >= 2.0**62:  # so sparse that each point may have a cell of its own
        order = np.lexsort(cells)
        changed = [np.diff(cell[order]) != 0 for cell in cells]
        return order, np.concatenate([[True], changed[0] | changed[1] | changed[2]])
    keys = np.zeros(len(means), np.int64)
    for axis in (2, 1, 0):
        keys *= int(extents[axis])
        keys += cells.pop().astype(np.int64)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    return order, np.concatenate([[True], keys[1:] != keys[:-1]])


def _sh_range(source: Reordered | Source, coefficients: int) -> tuple[float, float]:
    """The range of all harmonics of a scene; the format's default where there are none."""
    low, high = np.inf, -np.inf
    for chunk in source.chunks():
        if coefficients and len(chunk):
            low = min(low, float(chunk.shN[:, :coefficients].min()))
            high = max(high, float(chunk.shN[:, :coefficients].max()))
    # Zero would mean the default to readers, and an empty range divides by zero.
    return (low or -1e-6, high or 1e-6) if low < high else (-1.5, 1.5)


def _headers(
    count: int,
    degree: int,
    options: KsplatOptions,
    buckets: _Buckets,
    sh_range: tuple[float, float],
) -> bytes:
    header = np.zeros(1, HEADER)
    header["version"] = (0, 1)
    header["max_sections"] = header["sections"] = 1
    header["max_splats"] = header["splats"] = count
    header["level"] = options.level
    header["min_sh"], header["max_sh"] = sh_range
    section = np.zeros(1, SECTION)
    section["splats"] = section["max_splats"] = count
    section["bucket_size"] = BUCKET_SIZE
    section["buckets"] = len(buckets.centers)
    section["block_size"] = options.block_size
    section["bucket_bytes"] = 12 if options.level else 0
    section["scale_range"] = SCALE_RANGE if options.level else 1
    section["full_buckets"], section["partial_buckets"] = buckets.full, len(buckets.partial)
    section["degree"] = degree
    tables = 4 * len(buckets.partial) + 12 * len(buckets.centers)
    size = tables + count * row_dtype(options.level, degree).itemsize
    if size >= 1 << 32:
        raise ValueError(
            f"`path`: a .ksplat section holds at most 4 GiB, got {size} bytes; use level 2, drop "
            "harmonics or choose another format."
        )
    section["bytes"] = size
    return header.tobytes() + section.tobytes()


def _pack(
    chunk: Gaussians,
    degree: int,
    options: KsplatOptions,
    centers: Float[ndarray, "n 3"] | None,
    sh_range: tuple[float, float],
) -> NDArray[Any]:
    rows = np.zeros(len(chunk), row_dtype(options.level, degree))
    scales = chunk.log_scales.double().exp().numpy()
    if centers is None:
        rows["means"] = chunk.means.numpy()
        rows["scales"] = scales.clip(0, _MAX_FLOAT)
    else:
        steps = (chunk.means.numpy().astype(np.float64) - centers) * (
            SCALE_RANGE / (options.block_size / 2)
        )
        rows["means"] = (np.rint(steps) + SCALE_RANGE).clip(0, 2 * SCALE_RANGE + 1)
        rows["scales"] = scales.clip(_MIN_HALF, _MAX_HALF)
    rows["quats"] = unit_quats(chunk.quats)
    rows["rgba"][:, :3] = color_bytes(chunk.sh0)
    rows["rgba"][:, 3] = alpha_bytes(chunk.logit_opacities)
    for target, first, width in bands(degree):
        values = chunk.shN[:, first : first + width].transpose(1, 2).flatten(1).double().numpy()
        if options.level == 2:
            low, high = sh_range
            values = np.rint((values - low) / (high - low) * 255).clip(0, 255)
        elif options.level == 1:
            values = values.clip(-_MAX_HALF, _MAX_HALF)
        rows["sh"][:, target : target + 3 * width] = values
    return rows
