"""Small tables of integers as bytes: what a plan stores beside its numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..contract import CodecError
from ..entropy.bits import read_varint, write_varint
from .coefficients import STATIONARY, decode_coefficients, encode_coefficients


def pack_integers(table: NDArray[np.integer]) -> bytes:
    """[a, b] integers, columns modeled apart where there are many rows; length in front."""
    values = np.ascontiguousarray(table, dtype=np.int32)
    if len(values) < _APART * values.shape[1]:
        values = values.reshape(-1, 1)
    stream = b"".join(encode_coefficients(values, count_limit=STATIONARY)) if values.size else b""
    return write_varint(len(stream)) + stream


def unpack_integers(
    data: bytes, offset: int, num_rows: int, num_columns: int
) -> tuple[NDArray[np.int32], int]:
    """The table at `offset` and the offset behind it; the caller has bounded its size."""
    size, start = read_varint(data, offset)
    if size > len(data) - start:
        raise CodecError(f"a table of {size} bytes is cut off", offset=start)
    flat = num_rows < _APART * num_columns
    shape = (num_rows * num_columns, 1) if flat else (num_rows, num_columns)
    if 0 in shape:
        return np.zeros((num_rows, num_columns), dtype=np.int32), start + size
    found = decode_coefficients([data[start : start + size]], *shape, count_limit=STATIONARY)
    if found is None:
        raise CodecError("no table that an encoder wrote", offset=start)
    return found.reshape(num_rows, num_columns), start + size


_APART = 4
"""Rows per column from which columns have statistics of their own."""
