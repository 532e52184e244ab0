"""Run lengths: columns of integers in which the same value often repeats, sorted ones above all.

Bytes: version 1; index of the type in `DTYPES`; varint length and bytes of a `rans` stream of the
differences of the runs' values from their predecessors, the first from 0; a `rans` stream of the
runs' lengths less one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..contract import MAX_ITEMS, CodecError
from . import rans
from .bits import read_varint, write_varint
from .rate import rate

VERSION = 1
DTYPES = tuple(np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32"))
"""Types, as numbered in the bytes."""


class RunLengthCodec:
    """1-D integers of at most 32 bits by their runs.

    >>> codec = RunLengthCodec()
    >>> codec.decode(codec.encode(np.array([3, 3, 3, 7], np.int32)))
    array([3, 3, 3, 7], dtype=int32)
    """

    name = "runs"
    lossless = True

    def encode(self, array: NDArray[Any]) -> bytes:
        """See `Codec`."""
        array = np.asarray(array)
        if array.ndim != 1 or array.dtype not in DTYPES:
            raise ValueError(
                f"`array` must have one dimension of integers of at most 32 bits, got "
                f"{list(array.shape)} of {array.dtype}."
            )
        starts = np.flatnonzero(np.append(True, array[1:] != array[:-1])) if len(array) else []
        values = array[starts].astype(np.int64) if len(array) else np.zeros(0, np.int64)
        lengths = np.diff(np.append(starts, len(array)).astype(np.int64))
        first = rans.encode(np.diff(values, prepend=0))
        head = bytes([VERSION, DTYPES.index(array.dtype)]) + write_varint(len(first))
        return head + first + rans.encode(lengths - 1)

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
        """See `Codec`."""
        if len(data) < 3 or data[0] != VERSION or data[1] >= len(DTYPES):
            raise CodecError("expected version 1 and a type of integers", offset=0)
        size, start = read_varint(data, 2)
        if size > len(data) - start:
            raise CodecError(f"a stream of {size} bytes exceeds the data", offset=2)
        steps = rans.decode(data[start : start + size], max_items=max_items)
        rest = rans.decode(data[start + size :], max_items=max_items)
        if steps.shape != rest.shape or steps.ndim != 1:
            raise CodecError("values and lengths differ in number", offset=start + size)
        if rest.size and not 0 <= int(rest.min()) <= int(rest.max()) < max_items:
            raise CodecError("a run has no possible length", offset=start + size)
        if int(rest.astype(np.int64).sum()) + len(rest) > max_items:
            raise CodecError(f"the runs exceed {max_items} items", offset=start + size)
        dtype = DTYPES[data[1]]
        values = np.cumsum(steps.astype(np.int64))
        limits = np.iinfo(dtype)
        if values.size and not limits.min <= values.min() <= values.max() <= limits.max:
            raise CodecError(f"a value lies beyond {dtype}", offset=start)
        return np.repeat(values.astype(dtype), rest.astype(np.int64) + 1)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """See `Codec`; the entropy of the values, so an upper estimate."""
        return rate(array, columns=False)
