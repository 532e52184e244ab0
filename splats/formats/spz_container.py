"""The bytes around SPZ data: headers, compressed streams and extensions of versions 1 to 4.

A file holds one array per attribute, all Gaussians of one attribute together, in the order of
`STREAMS`. Versions 1 to 3 put header and arrays into one gzip member; version 4 has a plain header
and compresses each array by itself with zstd, so that they decode in parallel.

Reference: github.com/nianticlabs/spz, src/cc/load-spz.cc (July 2026).
"""

from __future__ import annotations

import mmap
import struct
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .contract import FormatError

STREAMS = ("positions", "alphas", "colors", "scales", "rotations", "sh")
"""Attributes in file order."""
MAGIC = b"NGSP"
GZIP_MAGIC = b"\x1f\x8b"
ANTIALIASED, HAS_EXTENSIONS = 1, 2

_HEADER = struct.Struct(
    "<4sIIBBBB"
)  # magic, version, count, degree, fractional bits, flags, streams
HEADER_BYTES_V4 = 32
_TOC_ENTRY = struct.Struct("<QQ")
_RECORD = struct.Struct("<II")
_MAX_DEFLATE_RATIO = 1032  # a run of one byte; no deflate stream expands further
_MAX_ROWS_PER_BYTE = 1024 / 9  # what the reference reader accepts
_MAX_EXTENSION_BYTES = 1 << 20
_MAX_ROWS_AT_ONCE = 1 << 21  # what is allocated before the data has shown that it is there


@dataclass(frozen=True)
class SpzHeader:
    """What the first bytes of a file say, checked against its size."""

    version: int
    """1 to 4."""
    num_points: int
    """Number of Gaussians, at least 1."""
    sh_degree: int
    """0 to 4."""
    fractional_bits: int
    """Positions are integers times 2^-fractional_bits (not used by version 1)."""
    antialiased: bool
    """True where the scene was trained with the opacity compensation of Mip-Splatting."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes per Gaussian of each stream."""
        position = 6 if self.version == 1 else 9
        rotation = 3 if self.version < 3 else 4
        return (position, 1, 3, 3, rotation, 3 * ((self.sh_degree + 1) ** 2 - 1))


@runtime_checkable
class _Stream(Protocol):
    """Uncompressed bytes of one attribute, read front to back."""

    def readinto(self, target: memoryview, /) -> int: ...


class SpzFile:
    """An open SPZ file of any version; its rows can be read any number of times.

    Raises:
        FormatError: Not an SPZ file, or one whose header does not fit its size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_bytes = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES_V4)
        self._gzipped = start.startswith(GZIP_MAGIC)
        if self._gzipped:
            start = _gunzip_start(path)
        self.header, streams = _parse_header(path, start)
        self._is_v4 = self.header.version == 4
        if self._is_v4 and self._gzipped:
            raise self.fail("version", "version 4 is not inside gzip; the file is damaged.", 4)
        self._check_count()
        if self._is_v4:
            self._parse_contents(streams, struct.unpack_from("<I", start, 16)[0])

    def fail(self, field: str, message: str, offset: int) -> FormatError:
        """The error for a fault at `offset`."""
        return FormatError(self.path, message, field=field, offset=offset)

    def _check_count(self) -> None:
        """Refuse counts that no file of this size can hold, before anything is allocated."""
        count, row = self.header.num_points, sum(self.header.strides)
        if self._is_v4:
            most = int(self.num_bytes * _MAX_ROWS_PER_BYTE)
        elif self._gzipped:
            most = self.num_bytes * _MAX_DEFLATE_RATIO // row
        else:
            most = self.num_bytes // row
        if not 0 < count <= most:
            raise self.fail(
                "numPoints",
                f"expected 1 to {most} Gaussians in a file of {self.num_bytes} bytes, got {count}; "
                "the file is truncated or damaged.",
                8,
            )

    def _parse_contents(self, num_streams: int, toc: int) -> None:
        """Read the table of contents of version 4 and check it against the file's size."""
        used = [i for i, stride in enumerate(self.header.strides) if stride]
        data = toc + _TOC_ENTRY.size * len(used)
        if num_streams != len(used):
            raise self.fail("numStreams", f"expected {len(used)}, got {num_streams}.", 15)
        if not HEADER_BYTES_V4 <= toc <= data <= self.num_bytes:
            raise self.fail(
                "tocByteOffset",
                f"expected {HEADER_BYTES_V4} to {self.num_bytes}, got {toc}.",
                16,
            )
        with self.path.open("rb") as file:
            file.seek(toc)
            entries = list(_TOC_ENTRY.iter_unpack(file.read(data - toc)))
        self._windows: dict[int, tuple[int, int]] = {}
        offset = data
        for place, (index, (packed, unpacked)) in enumerate(zip(used, entries, strict=True)):
            expected = self.header.num_points * self.header.strides[index]
            if unpacked != expected:
                raise self.fail(
                    f"{STREAMS[index]}.uncompressedSize",
                    f"expected {expected} bytes for {self.header.num_points} Gaussians, "
                    f"got {unpacked}.",
                    toc + _TOC_ENTRY.size * place + 8,
                )
            self._windows[index] = (offset, packed)
            offset += packed
        if offset != self.num_bytes:
            raise self.fail(
                "compressedSize",
                f"the streams end at byte {offset}, the file at {self.num_bytes}; "
                "it is truncated or damaged.",
                toc,
            )
        self._toc = toc

    @property
    def sections(self) -> dict[str, int]:
        """Bytes of each part of the file; they add up to its size."""
        if not self._is_v4:
            return {"gzip" if self._gzipped else "raw": self.num_bytes}
        first = next(iter(self._windows.values()))[0]
        return {"header": first} | {STREAMS[i]: size for i, (_, size) in self._windows.items()}

    @cached_property
    def extensions(self) -> tuple[tuple[int, bytes], ...]:
        """(type, payload) of every extension record, known to us or not."""
        if self._is_v4:
            with self.path.open("rb") as file:
                file.seek(HEADER_BYTES_V4)
                data = file.read(min(self._toc - HEADER_BYTES_V4, _MAX_EXTENSION_BYTES))
            return self._parse_records(data, HEADER_BYTES_V4)
        end = _HEADER.size + self.header.num_points * sum(self.header.strides)
        self._body.seek(end)
        return self._parse_records(self._body.read(_MAX_EXTENSION_BYTES), end)

    def _parse_records(self, data: bytes, offset: int) -> tuple[tuple[int, bytes], ...]:
        records = []
        place = 0
        while place + _RECORD.size <= len(data):
            kind, size = _RECORD.unpack_from(data, place)
            place += _RECORD.size
            if size > len(data) - place:
                raise self.fail(
                    "extension",
                    f"record {kind:#x} claims {size} bytes, {len(data) - place} are left.",
                    offset + place - 4,
                )
            records.append((kind, data[place : place + size]))
            place += size
        return tuple(records)

    def rows(self, rows_per_chunk: int) -> Iterator[list[NDArray[np.uint8]]]:
        """Raw bytes [n, stride] of every stream (stride 0 where it is empty), n rows at a time.

        Args:
            rows_per_chunk: Most rows at a time; large numbers are cut to two million.
        """
        rows_per_chunk = min(rows_per_chunk, _MAX_ROWS_AT_ONCE)
        streams = self._open_streams()
        strides = self.header.strides
        # The other versions share one file, which two threads cannot read at once.
        with ThreadPoolExecutor(2 if self._is_v4 else 1) as pool:
            for start in range(0, self.header.num_points, rows_per_chunk):
                count = min(rows_per_chunk, self.header.num_points - start)
                blocks = [np.empty((count, stride), np.uint8) for stride in strides]
                longest_first = sorted(range(len(STREAMS)), key=lambda i: -strides[i])
                tasks = [
                    pool.submit(self._fill, index, streams[index], blocks[index], start)
                    for index in longest_first
                ]
                for task in tasks:
                    task.result()
                yield blocks

    def _fill(
        self, index: int, stream: _Stream, block: NDArray[np.uint8], rows_before: int
    ) -> None:
        """Fill `block` from `stream`."""
        target = memoryview(cast(Any, block.reshape(-1)))
        filled = 0
        while filled < len(target):
            try:
                count = stream.readinto(target[filled:])
            except Exception as error:
                if type(error).__name__ != "ZstdError":
                    raise
                raise self.fail(
                    STREAMS[index], f"damaged zstd data ({error}).", self._at(index)
                ) from None
            if not count:
                stride = self.header.strides[index]
                raise self.fail(
                    STREAMS[index],
                    f"the stream ends after {rows_before * stride + filled} bytes; "
                    f"expected {self.header.num_points * stride}.",
                    self._at(index),
                )
            filled += count

    def _at(self, index: int) -> int:
        return self._windows[index][0] if self._is_v4 else 0

    def _open_streams(self) -> list[_Stream]:
        strides = self.header.strides
        if not self._is_v4:
            starts = np.cumsum([0, *strides[:-1]]) * self.header.num_points + _HEADER.size
            return [_Window(self._body, int(start)) for start in starts]
        decompressor = require_zstandard().ZstdDecompressor
        with self.path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return [
            decompressor().stream_reader(data[slice(start, start + size)])
            for start, size in (self._windows.get(i, (0, 0)) for i in range(len(STREAMS)))
        ]

    @cached_property
    def _body(self) -> BinaryIO:
        """Header and arrays of versions 1 to 3, uncompressed, in a file of their own."""
        if not self._gzipped:
            return self.path.open("rb")
        expected = _HEADER.size + self.header.num_points * sum(self.header.strides)
        body = tempfile.TemporaryFile()
        written = 0
        for data in _gunzip(self.path):
            written += body.write(data)
            if written > expected + _MAX_EXTENSION_BYTES:
                raise self.fail(
                    "payload", f"expected {expected} bytes, got at least {written}.", self.num_bytes
                )
        if written < expected:
            raise self.fail(
                "payload",
                f"the data ends after {written} bytes; {self.header.num_points} Gaussians of "
                f"degree {self.header.sh_degree} need {expected}.",
                self.num_bytes,
            )
        return body


class _Window:
    """The bytes of an open file from `offset` on, independent of other windows of that file."""

    def __init__(self, file: BinaryIO, offset: int) -> None:
        self._file, self._offset = file, offset

    def readinto(self, target: memoryview, /) -> int:
        self._file.seek(self._offset)
        data = self._file.read(len(target))
        target[: len(data)] = data
        self._offset += len(data)
        return len(data)


def _gunzip(path: Path) -> Iterator[bytes]:
    """Uncompressed pieces of at most 1 MB of a gzip file."""
    engine = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        while not engine.eof:
            data = engine.unconsumed_tail or file.read(1 << 16)
            if not data:
                raise FormatError(
                    path,
                    "the gzip data is cut off; the file is truncated.",
                    field="gzip",
                    offset=file.tell(),
                )
            try:
                piece = engine.decompress(data, 1 << 20)
            except zlib.error as error:
                raise FormatError(
                    path, f"damaged gzip data ({error}).", field="gzip", offset=file.tell()
                ) from None
            if piece:
                yield piece


def _gunzip_start(path: Path) -> bytes:
    for piece in _gunzip(path):
        return piece[:HEADER_BYTES_V4]
    return b""


def _parse_header(path: Path, start: bytes) -> tuple[SpzHeader, int]:
    """The header in the first 32 bytes, and its last byte (the number of streams in version 4)."""
    if len(start) < _HEADER.size:
        raise FormatError(
            path,
            f"the file ends after {len(start)} bytes; expected a header of {_HEADER.size}.",
            field="header",
            offset=len(start),
        )
    magic, version, count, degree, bits, flags, streams = _HEADER.unpack_from(start)
    faults = (
        (magic != MAGIC, "magic", f"expected {MAGIC!r}, got {magic!r}; this is no SPZ file.", 0),
        (not 1 <= version <= 4, "version", f"expected 1 to 4, got {version}.", 4),
        (degree > 4, "shDegree", f"expected 0 to 4, got {degree}.", 12),
        (bits > 30, "fractionalBits", f"expected 0 to 30, got {bits}.", 13),
        (
            version == 4 and len(start) < HEADER_BYTES_V4,
            "header",
            f"the file ends after {len(start)} bytes; expected a header of {HEADER_BYTES_V4}.",
            len(start),
        ),
    )
    for wrong, field, message, offset in faults:
        if wrong:
            raise FormatError(path, message, field=field, offset=offset)
    return SpzHeader(version, count, degree, bits, bool(flags & ANTIALIASED)), streams


def require_zstandard() -> Any:
    """The module `zstandard`, or an error with the line that installs it."""
    try:
        import zstandard
    except ImportError:
        raise ImportError(
            'SPZ version 4 needs zstandard: pip install "fieldwright[codecs]"'
        ) from None
    return zstandard


def pack_header(header: SpzHeader, has_extensions: bool, num_streams: int) -> bytes:
    """The first 16 bytes of a file; `num_streams` is 0 in versions 1 to 3."""
    flags = ANTIALIASED * header.antialiased | HAS_EXTENSIONS * has_extensions
    return _HEADER.pack(
        MAGIC,
        header.version,
        header.num_points,
        header.sh_degree,
        header.fractional_bits,
        flags,
        num_streams,
    )


def pack_contents(sizes: Sequence[tuple[int, int]]) -> bytes:
    """The table of contents of version 4: (compressed, uncompressed) bytes of each stream."""
    return b"".join(_TOC_ENTRY.pack(*entry) for entry in sizes)


def pack_extensions(extensions: Sequence[tuple[int, bytes]]) -> bytes:
    """Extension records as the file holds them."""
    return b"".join(_RECORD.pack(kind, len(data)) + data for kind, data in extensions)
