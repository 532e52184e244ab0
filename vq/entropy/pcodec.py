"""Streams of numbers, integers or floats, through pcodec.

Bytes: one byte for the type (an index into `DTYPES`), one byte for the number of dimensions (at
most 8), each dimension as `varint`; then per column of a 2-D array, or once, the length of a
standalone pcodec file as `varint` and the file. Types that pcodec lacks (bool, 8 bits) are widened
to 16 bits inside it.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..contract import MAX_ITEMS, CodecError
from .bits import read_varint, write_varint
from .header import MAX_DIMS
from .rate import rate

DTYPES = tuple(
    np.dtype(name).newbyteorder("<")
    for name in ("bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")
)
"""Types of arrays, as numbered in the file."""
MAX_COLUMNS = 1 << 12
"""Most columns that pcodec codes one by one; others are coded as one stream."""
LEVEL = 8
"""pcodec's own default; 12 gains 0.1 to 0.3 % and encodes at two thirds of the speed."""


class PcodecCodec:
    """Arrays of numbers through pcodec, which `fieldwright[codecs]` installs."""

    name = "pcodec"
    lossless = True

    def encode(self, array: NDArray[Any]) -> bytes:
        """`array` as bytes.

        Raises:
            ValueError: It is not of a type in `DTYPES`, or has more than 8 dimensions.
            ImportError: pcodec is not installed.
        """
        array = np.asarray(array)
        standalone, config = _pcodec()
        header, dtype = _write_header(array)
        if array.size == 0:
            return header
        wide = array.astype(_wide(dtype), copy=False)
        columns = wide.T if _by_columns(array.shape) else wide.reshape(1, -1)
        parts = [header]
        for column in columns:
            coded = standalone.simple_compress(np.ascontiguousarray(column), config)
            parts += [write_varint(len(coded)), coded]
        return b"".join(parts)

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
        """The array in `data`; see `vq.contract.Codec`."""
        standalone, _ = _pcodec()
        dtype, shape, offset = _read_header(data, max_items)
        native = dtype.newbyteorder("=")
        if 0 in shape:
            if offset != len(data):
                raise CodecError("bytes behind an empty array", offset=offset)
            return np.zeros(shape, native)
        by_columns = _by_columns(shape)
        count = shape[1] if by_columns else 1
        items = math.prod(shape) // count
        rows = np.zeros((count, items), native)
        for row in rows:
            length, offset = read_varint(data, offset)
            if length > len(data) - offset:
                raise CodecError("a column is cut off", offset=len(data))
            row[:] = _decode_stream(standalone, data[offset : offset + length], row, offset)
            offset += length
        if offset != len(data):
            raise CodecError("bytes behind the last column", offset=offset)
        return np.ascontiguousarray(rows.T) if by_columns else rows.reshape(shape)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """Bits under one table per column, which pcodec comes close to on rounded values."""
        return rate(array, columns=array.ndim == 2)


def _decode_stream(standalone: Any, data: bytes, row: NDArray[Any], offset: int) -> NDArray[Any]:
    """Numbers of one pcodec file, as many as `row` has."""
    stream = np.zeros(len(row), _wide(row.dtype))
    try:
        progress = standalone.simple_decompress_into(data, stream)
    except (RuntimeError, ValueError, TypeError) as error:
        raise CodecError(f"pcodec: {error}", offset=offset) from error
    if progress.n_processed != len(row) or not progress.finished:
        raise CodecError(f"a column does not hold {len(row)} numbers", offset=offset)
    narrow = stream.astype(row.dtype)
    if row.dtype.itemsize == 1 and not np.array_equal(narrow.astype(stream.dtype), stream):
        raise CodecError(f"a number does not fit {row.dtype}", offset=offset)
    return narrow


def _pcodec() -> tuple[Any, Any]:
    """Its module of standalone files, and how it is to compress."""
    try:
        module = importlib.import_module("pcodec")
    except ImportError as error:
        raise ImportError(
            'The pcodec codec needs pcodec: pip install "fieldwright[codecs]".'
        ) from error
    return module.standalone, module.ChunkConfig(compression_level=LEVEL)


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which pcodec holds it."""
    if dtype.itemsize > 1:
        return dtype.newbyteorder("=")
    return np.dtype(np.int16 if dtype.kind == "i" else np.uint16)


def _by_columns(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and 0 < shape[1] <= MAX_COLUMNS


def _write_header(array: NDArray[Any]) -> tuple[bytes, np.dtype[Any]]:
    dtype = array.dtype.newbyteorder("<")
    if dtype not in DTYPES or array.ndim > MAX_DIMS:
        raise ValueError(
            f"`array` must be numbers in at most {MAX_DIMS} dimensions, got {array.dtype} in "
            f"{array.ndim}."
        )
    lengths = b"".join(write_varint(length) for length in array.shape)
    return bytes([DTYPES.index(dtype), array.ndim]) + lengths, dtype


def _read_header(data: bytes, max_items: int) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Type, shape and the offset behind them."""
    if len(data) < 2:
        raise CodecError("the data ends inside the header", offset=len(data))
    if data[0] >= len(DTYPES):
        raise CodecError(f"unknown type {data[0]}", offset=0)
    if data[1] > MAX_DIMS:
        raise CodecError(f"{data[1]} dimensions, at most {MAX_DIMS} allowed", offset=1)
    offset, shape = 2, []
    for _ in range(data[1]):
        length, offset = read_varint(data, offset)
        shape.append(length)
    if math.prod(max(1, length) for length in shape) > max_items:
        raise CodecError(f"shape {shape} exceeds the limit of {max_items} items", offset=offset)
    return DTYPES[data[0]], tuple(shape), offset
