"""Static rANS: integer arrays of any shape at their order-0 entropy, decoded many at a time.

Bytes: the header (`header`), whose flag says that the columns of a 2-D array have tables of their
own; then, unless the array is empty, its columns (`body`), or all items as one column, last
dimension fastest. Nothing may follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..contract import MAX_ITEMS, CodecError
from .body import decode_columns, encode_columns
from .header import Header
from .rate import rate

_ROWS = 1 << 13

MAX_COLUMNS = 1 << 12
"""Most columns with tables of their own."""


def encode(symbols: NDArray[Any], *, columns: bool = False) -> bytes:
    """An integer array as bytes, shape and type included.

    Args:
        symbols: Any integer type or bool, any shape of up to 8 dimensions, values within 2^60.
        columns: Give each column of an `[n, d]` array a frequency table of its own.

    Raises:
        ValueError: `symbols` has another type, too many dimensions, or values out of range.

    Codes sorted by how often they are used make the cheapest tables.
    """
    symbols = np.asarray(symbols)
    if columns and (symbols.ndim != 2 or symbols.shape[1] > MAX_COLUMNS):
        raise ValueError(
            f"`symbols` must be [n, d <= {MAX_COLUMNS}] to have columns, got {symbols.shape}."
        )
    header = Header.of(symbols, flag=columns).to_bytes()
    if symbols.size == 0:
        return header
    return header + encode_columns(list(symbols.T) if columns else [symbols.reshape(-1)])


def decode(data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
    """The array in `data`, in its own shape and type.

    Args:
        data: What `encode` returned.
        max_items: Refuse more values than this.

    Raises:
        CodecError: `data` is malformed or claims more than `max_items` values.
    """
    header, offset = Header.read(data, max_items)
    shape = header.shape
    if header.flag and (len(shape) != 2 or shape[1] > MAX_COLUMNS):
        raise CodecError(f"shape {shape} cannot have columns", offset=2)
    if header.size == 0:
        if offset != len(data):
            raise CodecError("bytes behind an empty array", offset=offset)
        return np.zeros(shape, header.dtype)
    if not header.flag:
        return decode_columns(data, offset, [header.size], header)[0].reshape(shape)
    columns = decode_columns(data, offset, [shape[0]] * shape[1], header)
    rows = np.empty(shape, header.dtype)
    for begin in range(0, len(rows), _ROWS):  # as much as a cache holds
        part = slice(begin, begin + _ROWS)
        np.stack([column[part] for column in columns], axis=1, out=rows[part])
    return rows


class RansCodec:
    """Integers of any shape under static frequencies; see the module for the bytes.

    Attributes:
        columns: Whether the columns of 2-D arrays have tables of their own.
    """

    name = "rans"
    lossless = True

    def __init__(self, *, columns: bool = True) -> None:
        self.columns = columns

    def encode(self, array: NDArray[Any]) -> bytes:
        """`array` as bytes; see `encode`."""
        array = np.asarray(array)
        columns = self.columns and array.ndim == 2 and 1 < array.shape[1] <= MAX_COLUMNS
        return encode(array, columns=columns)

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
        """The array in `data`; see `decode`."""
        return decode(data, max_items=max_items)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """Differentiable estimate of `8 * len(encode(round(array)))`, in bits; see `rate`."""
        return rate(array, columns=self.columns and array.ndim == 2)
