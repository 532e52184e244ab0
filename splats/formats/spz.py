"""SPZ files (Niantic, Adobe): integers per attribute, compressed with gzip or zstd.

See `spz_container` for the bytes around the data and `spz_quantization` for the integers. Numbers
are in the axes RUB unless the coordinate extension says otherwise; some programs (splat-transform)
write those of their input instead and say nothing, which only the eye can tell.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from runs.files import replacing

from ..gaussians import Gaussians
from .contract import ROWS_PER_CHUNK, FileSummary, LossReport, Source, refuse_existing
from .frames import FRAMES, check_frame, in_frame
from .spz_container import SpzFile, SpzHeader
from .spz_output import write_spz
from .spz_quantization import (
    MAX_POSITION,
    PackedSpz,
    Survey,
    choose_fractional_bits,
    concatenate,
    decode,
    encode,
    raw_rows,
    unpack_rows,
)

DEFAULT_FRAME = "RUB"
"""Axes of files that name none."""
COORDINATE_SYSTEM = 0xADBE0003
"""Extension that holds the number of the axes, counted from 1 in the order of `FRAMES`."""

_ROWS_PER_BLOCK = 1 << 21  # sorted together; 140 MB of integers
_ROWS_PER_PIECE = 1 << 15  # quantised at a time, so that intermediate results stay in the cache


@dataclass(frozen=True)
class SpzOptions:
    """What an SPZ writer lets one choose."""

    version: int = 4
    """Version of the file, 2 to 4; 4 needs the package zstandard, older programs read 2 and 3."""
    frame: str = DEFAULT_FRAME
    """Axes of the numbers in the file. Readers that ignore extensions expect RUB."""
    fractional_bits: int | None = None
    """Positions are rounded to 2^-fractional_bits; None chooses from the size of the scene and of
    its Gaussians, at least 12 where the range allows."""
    sh1_bits: int = 5
    """Bits of each harmonic of degree 1, 1 to 8."""
    sh_rest_bits: int = 4
    """Bits of each harmonic above degree 1, 1 to 8."""
    level: int | None = None
    """Compression effort, 1 to 22 (versions 2 and 3: 1 to 9); None: a fast one per attribute."""

    def __post_init__(self) -> None:
        check_frame(self.frame)
        ranges = {
            "version": (2, 4),
            "fractional_bits": (0, 24),
            "sh1_bits": (1, 8),
            "sh_rest_bits": (1, 8),
            "level": (1, 22 if self.version == 4 else 9),
        }
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"`{name}` must be {least} to {most}, got {value}.")


@dataclass(frozen=True)
class SpzSource:
    """An open SPZ file as a `Source`."""

    file: SpzFile
    """Checked header and streams."""

    @property
    def num_primitives(self) -> int:
        """Number of Gaussians."""
        return self.file.header.num_points

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics."""
        return self.file.header.sh_degree

    @property
    def frame(self) -> str:
        """The axes that the coordinate extension names, else RUB."""
        for kind, data in self.file.extensions:
            if kind == COORDINATE_SYSTEM and len(data) >= 4:
                (number,) = struct.unpack_from("<I", data)
                if 1 <= number <= len(FRAMES):
                    return FRAMES[number - 1]
        return DEFAULT_FRAME

    @property
    def antialiased(self) -> bool:
        """Whether the header's flag is set."""
        return self.file.header.antialiased

    @property
    def model(self) -> str:
        """SPZ knows one model."""
        return "3dgs"

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """All Gaussians in file order."""
        for packed in self.packed_chunks(rows):
            yield decode(packed)

    def packed_chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[PackedSpz]:
        """All Gaussians in file order as the integers of the file."""
        header = self.file.header
        for raw in self.file.rows(rows):
            yield unpack_rows(
                raw,
                version=header.version,
                sh_degree=header.sh_degree,
                fractional_bits=header.fractional_bits,
                antialiased=header.antialiased,
            )


class SpzFormat:
    """SPZ as a `Format`."""

    suffixes = (".spz",)
    magic = b""  # gzip's would claim other files; the name decides
    Options = SpzOptions

    def open(self, path: Path) -> SpzSource:
        """The Gaussians of a file of version 1 to 4."""
        source = SpzSource(SpzFile(path))
        _ = source.frame  # refuses damaged extensions here, since properties shall not raise
        return source

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: SpzOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """Write `source`, its Gaussians sorted by color.

        SPZ leaves the order open. Sorted by their three color bytes, these nearly vanish, which
        saves more than any order in space; sorting is within blocks of two million Gaussians.
        Reading them into memory costs 70 bytes per Gaussian of a block.
        """
        options = options or SpzOptions()
        refuse_existing(path, overwrite=overwrite)
        source = in_frame(source, options.frame)
        header, survey = _plan(source, options)
        order: list[NDArray[np.int64]] = []
        extensions = []
        if options.frame.upper() != DEFAULT_FRAME:
            number = FRAMES.index(options.frame.upper()) + 1
            extensions.append((COORDINATE_SYSTEM, struct.pack("<I", number)))
        with replacing(path) as file:
            write_spz(
                file,
                header,
                map(raw_rows, _sorted_blocks(source, header, options, order)),
                extensions=extensions,
                level=options.level,
            )
        return LossReport(
            path,
            path.stat().st_size,
            max_errors=None,
            order=torch.from_numpy(np.concatenate(order)),
            notes=survey.notes(),
        )

    def summarize(self, path: Path) -> FileSummary:
        """What the header says, and the sizes of the streams."""
        file = SpzFile(path)
        source = SpzSource(file)
        return FileSummary(
            num_primitives=source.num_primitives,
            sh_degree=source.sh_degree,
            antialiased=source.antialiased,
            frame=source.frame,
            sections=file.sections,
            details={
                "version": str(file.header.version),
                "position step": f"2^-{file.header.fractional_bits}",
            },
        )


def read_packed(path: str | Path) -> PackedSpz:
    """The integers in an SPZ file of any version, as stored and in the file's order.

    Raises:
        FormatError: Malformed file, with the path, the field and the byte offset.
        ImportError: Version 4 without the package zstandard.
    """
    source = SpzSource(SpzFile(Path(path)))
    return concatenate(list(source.packed_chunks(source.num_primitives)))


def _plan(source: Source, options: SpzOptions) -> tuple[SpzHeader, Survey]:
    """The header of the file to write, from one pass over the Gaussians."""
    if source.num_primitives == 0:
        raise ValueError("an SPZ file holds at least one Gaussian, the scene has none.")
    if source.sh_degree > 3 and options.version < 4:
        raise ValueError(
            f"SPZ version {options.version} holds harmonics up to degree 3, got degree 4; choose "
            "version 4 or lower the degree (--sh-degree 3)."
        )
    survey = Survey()
    for chunk in source.chunks():
        survey.add(chunk)
    bits = options.fractional_bits
    if bits is None:
        bits = choose_fractional_bits(survey.largest_coordinate, survey.small_size)
    elif round(survey.largest_coordinate * 2.0**bits) > MAX_POSITION:
        raise ValueError(
            f"`fractional_bits` must let coordinates up to {survey.largest_coordinate:g} fit in 24 "
            f"bits, got {bits}; pass None to choose it."
        )
    header = SpzHeader(
        options.version, source.num_primitives, source.sh_degree, bits, source.antialiased
    )
    return header, survey


def _sorted_blocks(
    source: Source, header: SpzHeader, options: SpzOptions, order: list[NDArray[np.int64]]
) -> Iterator[PackedSpz]:
    """Quantised Gaussians, sorted block by block; the chosen rows are appended to `order`."""
    start = 0
    for pieces in _batches(source.chunks(_ROWS_PER_PIECE), _ROWS_PER_BLOCK):
        block = concatenate(
            [
                encode(
                    piece,
                    version=header.version,
                    fractional_bits=header.fractional_bits,
                    antialiased=header.antialiased,
                    sh1_bits=options.sh1_bits,
                    sh_rest_bits=options.sh_rest_bits,
                )
                for piece in pieces
            ]
        )
        chosen = _order_by_color(block.colors)
        order.append(chosen + start)
        start += len(block)
        yield block[chosen]


def _batches(chunks: Iterable[Gaussians], rows: int) -> Iterator[Iterator[Gaussians]]:
    """Runs of consecutive chunks with at least `rows` Gaussians in each but the last."""
    chunks = iter(chunks)

    def run(first: Gaussians) -> Iterator[Gaussians]:
        taken = len(first)
        yield first
        while taken < rows:
            following = next(chunks, None)
            if following is None:
                return
            taken += len(following)
            yield following

    for first in chunks:
        yield run(first)


def _order_by_color(colors: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows in the order of red, green, blue; equal colors stay in their order."""
    red, green, blue = colors.T.astype(np.uint64)
    keys = (red << 16 | green << 8 | blue) << 32 | np.arange(len(colors), dtype=np.uint64)
    keys.sort()
    return (keys & 0xFFFFFFFF).astype(np.int64)
