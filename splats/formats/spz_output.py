"""Writing the bytes around SPZ data, in blocks, so that memory stays bounded.

Levels are chosen per attribute, by measuring where a higher one still saves bytes: rotations and
scales are noise to zstd, sorted colors nearly vanish, harmonics repay all the time spent on them.
"""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from .spz_container import (
    HEADER_BYTES_V4,
    STREAMS,
    SpzHeader,
    pack_contents,
    pack_extensions,
    pack_header,
    require_zstandard,
)

LEVELS = {"positions": 7, "alphas": 6, "colors": 13, "scales": 6, "rotations": 6, "sh": 7}
"""zstd level of each stream unless the caller asks for another."""
_GZIP_LEVEL = 6
_SPOOL_BYTES = 1 << 26
_JOB_BYTES = 1 << 22  # pieces of the harmonics that are compressed side by side


def write_spz(
    file: BinaryIO,
    header: SpzHeader,
    blocks: Iterable[Sequence[NDArray[np.uint8]]],
    *,
    extensions: Sequence[tuple[int, bytes]] = (),
    level: int | None = None,
) -> None:
    """Write one SPZ file.

    Args:
        file: Empty; it is written front to back.
        header: Its count is the number of rows in all blocks together.
        blocks: Rows [n, stride] of the six streams, some Gaussians at a time.
        extensions: (type, payload) records.
        level: Compression of every stream, 1 to 22 (zstd) or 1 to 9 (versions 1 to 3, gzip).
    """
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        spools = [
            stack.enter_context(tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES))
            for _ in STREAMS
        ]
        packers = [_packer(header, index, level) for index in range(len(STREAMS))]
        largest_first = sorted(range(len(STREAMS)), key=lambda index: -header.strides[index])
        for rows in blocks:

            def pack(index: int, rows: Sequence[NDArray[np.uint8]] = rows) -> None:
                spools[index].write(packers[index].compress(np.ascontiguousarray(rows[index])))

            list(pool.map(pack, largest_first))
        list(pool.map(lambda index: spools[index].write(packers[index].flush()), largest_first))
        if header.version == 4:
            _join_v4(file, header, spools, extensions)
        else:
            _join_gzip(file, header, spools, extensions, level or _GZIP_LEVEL)


class _Plain:
    """The stream as it is; versions 1 to 3 compress all of them together."""

    def compress(self, data: NDArray[np.uint8]) -> bytes:
        return data.tobytes()

    def flush(self) -> bytes:
        return b""


def _packer(header: SpzHeader, index: int, level: int | None) -> Any:
    if header.version < 4:
        return _Plain()
    zstandard = require_zstandard()
    options: dict[str, int] = {}
    if STREAMS[index] == "sh":
        # The result depends on the size of the jobs, not on how many threads run them.
        options = {"threads": 2, "job_size": _JOB_BYTES}
    size = header.num_points * header.strides[index]
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level or LEVELS[STREAMS[index]], source_size=size, **options
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=size)


def _join_v4(
    file: BinaryIO,
    header: SpzHeader,
    spools: Sequence[Any],
    extensions: Sequence[tuple[int, bytes]],
) -> None:
    used = [index for index, stride in enumerate(header.strides) if stride]
    records = pack_extensions(extensions)
    sizes = [(spools[index].tell(), header.num_points * header.strides[index]) for index in used]
    toc = HEADER_BYTES_V4 + len(records)
    file.write(pack_header(header, bool(extensions), len(used)))
    file.write(toc.to_bytes(4, "little") + bytes(12))
    file.write(records + pack_contents(sizes))
    for index in used:
        _copy(spools[index], file)


def _join_gzip(
    file: BinaryIO,
    header: SpzHeader,
    spools: Sequence[Any],
    extensions: Sequence[tuple[int, bytes]],
    level: int,
) -> None:
    engine = zlib.compressobj(level, wbits=31)
    file.write(engine.compress(pack_header(header, bool(extensions), 0)))
    for spool in spools:
        spool.seek(0)
        while data := spool.read(1 << 20):
            file.write(engine.compress(data))
    file.write(engine.compress(pack_extensions(extensions)))
    file.write(engine.flush())


def _copy(spool: Any, file: BinaryIO) -> None:
    spool.seek(0)
    shutil.copyfileobj(cast(BinaryIO, spool), file, 1 << 20)
