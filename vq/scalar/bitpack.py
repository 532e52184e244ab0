"""Rows of codes of given widths, without a wasted bit, any row of which can be read alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_WIDTH = 31
_ROWS = 1 << 14


def packed_size(num_rows: int, widths: Sequence[int]) -> int:
    """Bytes of `num_rows` rows: exactly the sum of their bits, rounded up once."""
    return (num_rows * sum(widths) + 7) // 8


def pack_rows(codes: NDArray[np.integer], widths: Sequence[int]) -> bytes:
    """Codes [n, d] below 2^widths; row after row, column after column, lowest bit first."""
    parts = []
    for begin in range(0, len(codes), _ROWS):
        rows = codes[begin : begin + _ROWS].astype(np.uint32)
        columns = [
            (rows[:, j, None] >> np.arange(width, dtype=np.uint32) & 1).astype(np.uint8)
            for j, width in enumerate(widths)
        ]
        bits = np.concatenate([np.zeros((len(rows), 0), np.uint8), *columns], axis=1)
        # A chunk is a multiple of eight rows, so that every chunk but the last fills its bytes.
        parts.append(np.packbits(bits.ravel(), bitorder="little").tobytes())
    return b"".join(parts)


def unpack_rows(
    packed: NDArray[np.uint8], widths: Sequence[int], rows: NDArray[np.integer]
) -> NDArray[np.int64]:
    """The codes [len(rows), d] of the given rows, reading only their bytes."""
    total = sum(widths)
    out = np.empty((len(rows), len(widths)), dtype=np.int64)
    for begin in range(0, len(rows), _ROWS):
        part = slice(begin, begin + _ROWS)
        starts = np.asarray(rows[part], dtype=np.int64) * total
        reach = np.arange((total + 7) // 8 + 1)
        places = np.minimum(starts[:, None] // 8 + reach, max(len(packed) - 1, 0))
        found = packed[places] if len(packed) else np.zeros(places.shape, np.uint8)
        bits = np.unpackbits(found, axis=1, bitorder="little")
        at = starts % 8
        for j, width in enumerate(widths):
            chosen = np.take_along_axis(bits, at[:, None] + np.arange(width), axis=1)
            out[part, j] = chosen.astype(np.int64) @ (1 << np.arange(width, dtype=np.int64))
            at = at + width
    return out
