"""Floating-point numbers without loss: their bytes sorted by significance, each kind coded alone.

A number is rotated left by one bit, which puts the sign last and the whole exponent into the
leading bits. The leading bytes of all numbers then follow few different values, which the entropy
coder makes use of; the trailing ones are noise and cost what they are.

Bytes: version 1; index of the type in `DTYPES`; number of dimensions; each length as varint; then
one `rans` stream of a uint8 array [rows, columns], where a row holds the bytes of one number, or of
one row of the array if its columns are told apart, most significant byte first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..contract import MAX_ITEMS, CodecError
from ..entropy import rans
from ..entropy.bits import read_varint, write_varint
from .array_type import extent
from .layout import MAX_DIMENSIONS

VERSION = 1
DTYPES = (np.dtype("float16"), np.dtype("float32"), np.dtype("float64"))
"""Types, as numbered in the bytes."""

_MAX_COLUMNS, _MIN_ROWS = 256, 2048  # beyond, tables of their own would outweigh what they save


class PlanesCodec:
    """Bit-exact coding of float16, float32 and float64 arrays of any shape, NaN included."""

    name = "planes"
    lossless = True

    def encode(self, array: NDArray[Any]) -> bytes:
        """See `Codec`."""
        array = np.asarray(array)
        dtype = array.dtype.newbyteorder("=")
        if dtype not in DTYPES or array.ndim > MAX_DIMENSIONS:
            raise ValueError(
                f"`array` must have at most {MAX_DIMENSIONS} dimensions of float16, float32 or "
                f"float64; got {array.ndim} of {array.dtype}."
            )
        head = bytes([VERSION, DTYPES.index(dtype), array.ndim])
        head += b"".join(map(write_varint, array.shape))
        planes = _to_planes(array)
        streams = [rans.encode(planes, columns=True)]
        width = array.shape[-1] * dtype.itemsize if array.ndim > 1 else 0
        if dtype.itemsize < width <= _MAX_COLUMNS and len(planes) >= _MIN_ROWS * array.shape[-1]:
            streams.append(rans.encode(planes.reshape(-1, width), columns=True))
        return head + min(streams, key=len)

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
        """See `Codec`."""
        if len(data) < 3 or data[0] != VERSION or data[1] >= len(DTYPES):
            raise CodecError("expected version 1 and a floating-point type", offset=0)
        if data[2] > MAX_DIMENSIONS:
            raise CodecError(f"{data[2]} dimensions", offset=2)
        dtype, shape, offset = DTYPES[data[1]], [], 3
        for _ in range(data[2]):
            length, offset = read_varint(data, offset)
            shape.append(length)
        size = math.prod(shape)
        if extent(tuple(shape)) > max_items:
            raise CodecError(f"{shape} exceeds the bound of {max_items} values", offset=3)
        try:
            # An empty stream still has the width of a value.
            planes = rans.decode(data[offset:], max_items=max(size, 1) * dtype.itemsize)
        except CodecError as error:
            raise CodecError(f"byte planes: {error}", offset=offset + error.offset) from None
        widths = (dtype.itemsize, shape[-1] * dtype.itemsize if shape else 0)
        fits = planes.dtype == np.uint8 and planes.ndim == 2 and planes.shape[1] in widths
        if not fits or planes.size != size * dtype.itemsize:
            raise CodecError(
                f"byte planes {planes.dtype}{list(planes.shape)} for {dtype}{shape}", offset=offset
            )
        return _from_planes(planes, dtype).reshape(shape)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """See `Codec`; the size of the bits as they are, since lossless coding has no gradient."""
        return torch.tensor(8.0 * array.numel() * array.element_size())


def _to_planes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes [size, itemsize], most significant first."""
    size = array.dtype.itemsize
    bits = np.ascontiguousarray(array).reshape(-1).view(f"u{size}")
    rotated = (bits << 1) | (bits >> (8 * size - 1))
    return rotated.astype(f">u{size}").view(np.uint8).reshape(-1, size)


def _from_planes(planes: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The inverse of `_to_planes`, flat."""
    size = dtype.itemsize
    rotated = np.ascontiguousarray(planes).reshape(-1).view(f">u{size}").astype(f"u{size}")
    return ((rotated >> 1) | (rotated << (8 * size - 1))).view(dtype)
