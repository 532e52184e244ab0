"""What the bytes of every scalar codec begin with: version, rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import CodecError
from ..entropy.bits import read_varint, write_varint

VERSION = 1
MAX_COLUMNS = 4096


def as_rows(array: NDArray[Any]) -> NDArray[np.float32]:
    """`array` as float32 [n, d]; a vector [n] is a column.

    Raises:
        ValueError: It has another number of dimensions, too many columns, or is not finite.
    """
    rows = np.asarray(array, dtype=np.float32)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or not 1 <= rows.shape[1] <= MAX_COLUMNS:
        raise ValueError(
            f"`array` must be [n] or [n, d <= {MAX_COLUMNS}], got {list(np.shape(array))}."
        )
    if not np.isfinite(rows).all():
        raise ValueError("`array` must be finite, got NaN or infinity.")
    return rows


def write_head(array: NDArray[Any]) -> bytes:
    """Version, number of dimensions, lengths."""
    lengths = b"".join(write_varint(length) for length in array.shape)
    return bytes([VERSION, array.ndim]) + lengths


def read_head(data: bytes, max_items: int) -> tuple[tuple[int, ...], int, int, int]:
    """Shape, rows, columns and the offset behind the head.

    Raises:
        CodecError: There is no such head or it claims more than `max_items` values.
    """
    if len(data) < 2 or data[0] != VERSION or data[1] not in (1, 2):
        raise CodecError("no head that this version knows", offset=0)
    count, offset = read_varint(data, 2)
    columns = 1
    if data[1] == 2:
        columns, offset = read_varint(data, offset)
    if not 1 <= columns <= MAX_COLUMNS or count * columns > max_items:
        raise CodecError(f"{count} x {columns} exceeds the bound of {max_items}", offset=2)
    return ((count,) if data[1] == 1 else (count, columns)), count, columns, offset


def read_array(
    data: bytes, offset: int, dtype: str, shape: tuple[int, ...]
) -> tuple[NDArray[Any], int]:
    """Little-endian finite numbers at `offset`, and the offset behind them."""
    kind = np.dtype(dtype)
    end = offset + int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if end > len(data):
        raise CodecError("a table is cut off", offset=offset)
    found = np.frombuffer(data[offset:end], kind).reshape(shape)
    if kind.kind == "f" and not np.isfinite(found).all():
        raise CodecError("a table holds what is no number", offset=offset)
    return found, end


def expect_end(data: bytes, offset: int) -> None:
    """Raise unless the bytes end here."""
    if offset != len(data):
        raise CodecError(f"the content takes {offset} bytes, {len(data)} are there", offset=offset)
