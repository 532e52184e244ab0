"""The `.ksplat` file of mkkellogg's GaussianSplats3D, version 0.1.

A header, section headers, then per section bucket tables and rows. Levels 1 and 2 store positions
as 16-bit offsets from the centers of buckets (256 Gaussians of one cell of a grid), scales and
rotations as half floats; level 2 stores harmonics as bytes. Axes as in PLY.

Reference: github.com/mkkellogg/GaussianSplats3D, src/loaders/SplatBuffer.js.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from numpy.typing import NDArray

from ..gaussians import Gaussians
from ..sh import num_sh_bases
from .contract import (
    HOUSE_FRAME,
    ROWS_PER_CHUNK,
    FileSummary,
    FormatError,
)
from .quantization import logits_of_bytes, sh0_of_bytes, unit_quats

HEADER_BYTES = 4096
"""Size of the main header."""
SECTION_BYTES = 1024
"""Size of a section's header."""
BUCKET_SIZE = 256
"""Gaussians in a full bucket."""
BLOCK_SIZE = 5.0
"""Side of a cell of the grid, world units."""
SCALE_RANGE = 32767
"""16-bit positions of a cell reach from -32767 to 32768 around its center."""

_DEFAULT_SH_RANGE = 1.5
_FLOATS = ("<f4", "<f2", "<f2")
_SH = ("<f4", "<f2", "u1")
HEADER = np.dtype(
    {
        "names": ["version", "max_sections", "sections", "max_splats", "splats", "level",
                  "center", "min_sh", "max_sh"],
        "formats": [("u1", 2), "<u4", "<u4", "<u4", "<u4", "<u2", ("<f4", 3), "<f4", "<f4"],
        "offsets": [0, 4, 8, 12, 16, 20, 24, 36, 40],
        "itemsize": HEADER_BYTES,
    }
)  # fmt: skip
"""The first bytes of a file."""
SECTION = np.dtype(
    {
        "names": ["splats", "max_splats", "bucket_size", "buckets", "block_size", "bucket_bytes",
                  "scale_range", "bytes", "full_buckets", "partial_buckets", "degree"],
        "formats": ["<u4", "<u4", "<u4", "<u4", "<f4", "<u2", "<u4", "<u4", "<u4", "<u4", "<u2"],
        "offsets": [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40],
        "itemsize": SECTION_BYTES,
    }
)  # fmt: skip
"""What is known of one section; there may be more of these than sections in use."""


def row_dtype(level: int, degree: int) -> np.dtype:
    """Layout of one Gaussian; `sh` is band by band, channel by channel."""
    coefficients = 3 * num_sh_bases(degree) - 3
    fields = [
        ("means", "<f4" if level == 0 else "<u2", 3),
        ("scales", _FLOATS[level], 3),
        ("quats", _FLOATS[level], 4),
        ("rgba", "u1", 4),
    ]
    return np.dtype([*fields, ("sh", _SH[level], (coefficients,))] if coefficients else fields)


@dataclass(frozen=True)
class Section:
    """One section of a file, its tables checked and read."""

    count: int
    """Gaussians in use."""
    degree: int
    """Degree of the spherical harmonics, 0 to 3."""
    rows: NDArray[Any]
    """A view of the file, [count] of `row_dtype`."""
    rows_at: int
    """Offset of the first row."""
    step: float
    """World units per step of a 16-bit position."""
    scale_range: int
    """The value of a 16-bit position in the center of its bucket."""
    centers: Float32[ndarray, "buckets 3"]
    """Centers of the buckets; empty at level 0."""
    ends: NDArray[Any]
    """Number of Gaussians up to the end of each bucket, [buckets]."""


class KsplatSource:
    """The Gaussians of a `.ksplat` file as a `Source`.

    Raises:
        FormatError: Another version or level, or parts that do not fit the file.
    """

    frame = HOUSE_FRAME
    antialiased = False
    model = "3dgs"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_bytes = path.stat().st_size
        if self.num_bytes < HEADER_BYTES:
            raise self._fault("header", f"expected {HEADER_BYTES} bytes.", self.num_bytes)
        self.data = np.memmap(path, np.uint8, "r")
        header = self.data[:HEADER_BYTES].view(HEADER)[0]
        if tuple(header["version"]) < (0, 1) or header["version"][0] > 0:
            found = ".".join(str(part) for part in header["version"])
            raise self._fault("version", f"expected 0.1, got {found}.", 0)
        self.level = int(header["level"])
        if self.level > 2:
            raise self._fault("compressionLevel", f"expected 0 to 2, got {self.level}.", 20)
        low, high = float(header["min_sh"]), float(header["max_sh"])
        if not np.isfinite([low, high]).all():
            raise self._fault("minSH", f"expected a finite range, got {low} to {high}.", 36)
        self.sh_range = (low or -_DEFAULT_SH_RANGE, high or _DEFAULT_SH_RANGE)
        self.sections = self._read_sections(int(header["max_sections"]))
        self.num_primitives = sum(section.count for section in self.sections)
        self.sh_degree = max((section.degree for section in self.sections), default=0)

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """See `Source.chunks`.

        Raises:
            FormatError: A value is not finite, or a scale negative.
        """
        for section in self.sections:
            for start in range(0, section.count, rows):
                yield self._decode(section, start, min(start + rows, section.count))

    def _decode(self, section: Section, start: int, stop: int) -> Gaussians:
        part = np.array(section.rows[start:stop])
        if self.level == 0:
            means = part["means"].astype(np.float32)
        else:
            bucket = np.searchsorted(section.ends, np.arange(start, stop), side="right")
            offsets = part["means"].astype(np.float32) - section.scale_range
            means = offsets * np.float32(section.step) + section.centers[bucket]
        scales = part["scales"].astype(np.float32)
        quats = part["quats"].astype(np.float32)
        shN = self._decode_sh(part, section.degree)
        checks = {
            "centre": ~np.isfinite(means),
            "scale": ~(np.isfinite(scales) & (scales >= 0)),
            "rotation": ~np.isfinite(quats),
            "SH": ~np.isfinite(shN.reshape(len(part), -1)),
        }
        for field, wrong in checks.items():
            if wrong.any():
                row = start + int(wrong.any(axis=1).argmax())
                offset = section.rows_at + row * section.rows.itemsize
                raise self._fault(field, f"of Gaussian {row} of its section is no number.", offset)
        with np.errstate(divide="ignore"):
            log_scales = np.log(scales)
        return Gaussians(
            means=torch.from_numpy(means),
            quats=torch.from_numpy(unit_quats(torch.from_numpy(quats)).astype(np.float32)),
            log_scales=torch.from_numpy(log_scales),
            logit_opacities=torch.from_numpy(logits_of_bytes(part["rgba"][:, 3])),
            sh0=torch.from_numpy(sh0_of_bytes(part["rgba"][:, :3])),
            shN=torch.from_numpy(shN),
        )

    def _decode_sh(self, part: NDArray[Any], degree: int) -> Float[ndarray, "n rest 3"]:
        shN = np.zeros((len(part), num_sh_bases(self.sh_degree) - 1, 3), np.float32)
        if degree == 0:
            return shN
        values = part["sh"].astype(np.float32)
        if self.level == 2:
            low, high = self.sh_range
            values = values / np.float32(255) * np.float32(high - low) + np.float32(low)
        for source, first, width in bands(degree):
            block = values[:, source : source + 3 * width].reshape(len(part), 3, width)
            shN[:, first : first + width] = block.transpose(0, 2, 1)
        return shN

    def _read_sections(self, count: int) -> list[Section]:
        """All sections that there is room for; writers count those in use differently."""
        offset = HEADER_BYTES + count * SECTION_BYTES
        if offset > self.num_bytes:
            raise self._fault("maxSectionCount", f"{count} sections do not fit the file.", 4)
        table = self.data[HEADER_BYTES:offset].view(SECTION)
        found = []
        for index, header in enumerate(table):
            section, offset = self._read_section(
                header, HEADER_BYTES + index * SECTION_BYTES, offset
            )
            found.append(section)
        return found

    def _read_section(self, header: Any, header_at: int, offset: int) -> tuple[Section, int]:
        count, slots = int(header["splats"]), int(header["max_splats"])
        degree, buckets = int(header["degree"]), int(header["buckets"])
        full, partial = int(header["full_buckets"]), int(header["partial_buckets"])
        size = int(header["bucket_size"])
        if degree > 3:
            raise self._fault("sphericalHarmonicsDegree", f"got {degree}.", header_at + 40)
        if count > slots:
            raise self._fault("splatCount", f"{count} exceeds {slots}.", header_at)
        dtype = row_dtype(self.level, degree)
        tables = 4 * partial + int(header["bucket_bytes"]) * buckets
        rows_at, end = offset + tables, offset + tables + slots * dtype.itemsize
        if end > self.num_bytes or partial > buckets or full > buckets:
            message = (
                f"{slots} rows and {buckets} buckets end at byte {end}; "
                "the file is truncated or its counts are wrong."
            )
            raise self._fault("maxSplatCount", message, header_at + 4)
        rows = self.data[rows_at : rows_at + count * dtype.itemsize].view(dtype)
        if self.level == 0:
            empty = np.empty((0, 3), np.float32)
            return Section(count, degree, rows, rows_at, 1.0, 0, empty, np.empty(0, int)), end
        if int(header["bucket_bytes"]) != 12:
            found = int(header["bucket_bytes"])
            raise self._fault(
                "bucketStorageSizeBytes", f"expected 12, got {found}.", header_at + 20
            )
        lengths = self.data[offset : offset + 4 * partial].copy().view("<u4").astype(np.int64)
        centers = self.data[offset + 4 * partial : rows_at].copy().view("<f4").reshape(-1, 3)
        ends = np.concatenate([np.full(full, size, np.int64), lengths]).cumsum()
        if full * size > count or len(ends) > buckets or (count and not len(ends)):
            raise self._fault("bucketCount", f"{buckets} do not fit {count} rows.", header_at + 12)
        if count and ends[-1] < count:
            raise self._fault("partialBuckets", f"hold {ends[-1]} of {count} rows.", offset)
        scale_range = int(header["scale_range"]) or SCALE_RANGE
        step = float(header["block_size"]) / 2 / scale_range
        centers = centers.astype(np.float32)
        return Section(count, degree, rows, rows_at, step, scale_range, centers, ends), end

    def _fault(self, field: str, message: str, offset: int) -> FormatError:
        return FormatError(self.path, message, field=field, offset=offset)


def bands(degree: int) -> Iterator[tuple[int, int, int]]:
    """(first value in a row's `sh`, first coefficient, coefficients) of each degree from 1 on."""
    for band in range(1, degree + 1):
        first = band * band - 1
        yield 3 * first, first, 2 * band + 1


def summarize_ksplat(path: Path) -> FileSummary:
    """Sizes of the parts, from the headers."""
    source = KsplatSource(path)
    rows = sum(section.rows.nbytes for section in source.sections)
    headers = source.num_bytes - rows
    return FileSummary(
        num_primitives=source.num_primitives,
        sh_degree=source.sh_degree,
        antialiased=False,
        frame=HOUSE_FRAME,
        sections={"headers and buckets": headers, "rows": rows},
        details={"compression level": str(source.level), "sections": str(len(source.sections))},
    )
