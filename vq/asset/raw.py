"""Arrays as they lie in memory."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..contract import MAX_ITEMS, CodecError
from .array_type import DTYPES, extent
from .layout import MAX_DIMENSIONS

_DIMENSION = struct.Struct("<Q")


class RawCodec:
    """Little-endian elements behind their type and shape; for what does not compress.

    Bytes: index of the type in `DTYPES`, number of dimensions, each length as uint64, elements.
    """

    name = "raw"
    lossless = True

    def encode(self, array: NDArray[Any]) -> bytes:
        """See `Codec`."""
        if array.dtype.name not in DTYPES or array.ndim > MAX_DIMENSIONS:
            raise ValueError(
                f"`array` must have at most {MAX_DIMENSIONS} dimensions of {', '.join(DTYPES)}; "
                f"got {array.ndim} of {array.dtype}."
            )
        start = bytes([DTYPES.index(array.dtype.name), array.ndim])
        lengths = b"".join(map(_DIMENSION.pack, array.shape))
        return start + lengths + array.astype(array.dtype.newbyteorder("<")).tobytes()

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
        """See `Codec`."""
        if len(data) < 2 or data[0] >= len(DTYPES) or data[1] > MAX_DIMENSIONS:
            raise CodecError("expected an element type and a number of dimensions", offset=0)
        start = 2 + _DIMENSION.size * data[1]
        if len(data) < start:
            raise CodecError("the shape is cut off", offset=len(data))
        shape = struct.unpack_from(f"<{data[1]}Q", data, 2)
        dtype = np.dtype(DTYPES[data[0]])
        size = math.prod(shape)
        if extent(shape) > max_items:
            raise CodecError(f"{list(shape)} exceeds the bound of {max_items} values", offset=2)
        if len(data) - start != size * dtype.itemsize:
            raise CodecError(
                f"{size} values take {size * dtype.itemsize} bytes, {len(data) - start} are there",
                offset=start,
            )
        values = np.frombuffer(data, dtype.newbyteorder("<"), offset=start)
        return values.astype(dtype).reshape(shape)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """See `Codec`; exact, and the same for every content."""
        num_bytes = 2 + _DIMENSION.size * array.ndim + array.numel() * array.element_size()
        return torch.tensor(8.0 * num_bytes)
