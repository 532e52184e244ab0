"""SPZ files (Niantic, Adobe): integers per attribute, compressed with gzip or zstd.

See `spz_container` for the bytes around the data and `spz_quantization` for the integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .spz_container import SpzFile
from .spz_quantization import PackedSpz, unpack_rows


def read_packed(path: str | Path) -> PackedSpz:
    """The integers in an SPZ file of any version, as stored and in the file's order.

    Raises:
        FormatError: Malformed file, with the path, the field and the byte offset.
        ImportError: Version 4 without the package zstandard.
    """
    file = SpzFile(Path(path))
    return next(_packed_chunks(file, file.header.num_points))


def _packed_chunks(file: SpzFile, rows_per_chunk: int) -> Iterator[PackedSpz]:
    header = file.header
    for rows in file.rows(rows_per_chunk):
        yield unpack_rows(
            rows,
            version=header.version,
            sh_degree=header.sh_degree,
            fractional_bits=header.fractional_bits,
            antialiased=header.antialiased,
        )
