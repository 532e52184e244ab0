"""Fixed-point grids: every column in so many bits between its least and its greatest value."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..contract import MAX_ITEMS, CodecError
from .bitpack import pack_rows, packed_size, unpack_rows
from .head import as_rows, expect_end, read_array, read_head, write_head

MAX_BITS = 24


class GridCodec:
    """x = low + code * step, 2^bits codes per column; errors are at most half a step.

    Bytes: head, bits, low and step of each column as float32, codes packed row by row.

    Args:
        bits: Of each code, 1 to 24.
    """

    name = "grid"
    lossless = False

    def __init__(self, bits: int = 16) -> None:
        if not 1 <= bits <= MAX_BITS:
            raise ValueError(f"`bits` must be in [1, {MAX_BITS}], got {bits}.")
        self.bits = bits

    def encode(self, array: NDArray[Any]) -> bytes:
        """See `Codec`; [n] or [n, d] of finite numbers."""
        rows = as_rows(array)
        empty = len(rows) == 0
        low = np.zeros(rows.shape[1], np.float32) if empty else rows.min(0)
        span = np.zeros_like(low, np.float64) if empty else rows.max(0) - low.astype(np.float64)
        step = (span / (2**self.bits - 1)).astype(np.float32)
        codes = np.round((rows - low.astype(np.float64)) / np.where(step > 0, step, 1))
        codes = np.clip(codes, 0, 2**self.bits - 1).astype(np.int64)
        tables = low.astype("<f4").tobytes() + step.astype("<f4").tobytes()
        packed = pack_rows(codes, [self.bits] * rows.shape[1])
        return write_head(np.asarray(array)) + bytes([self.bits]) + tables + packed

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
        """See `Codec`."""
        shape, count, columns, offset = read_head(data, max_items)
        if offset >= len(data) or not 1 <= data[offset] <= MAX_BITS:
            raise CodecError("no number of bits", offset=offset)
        widths = [data[offset]] * columns
        low, offset = read_array(data, offset + 1, "<f4", (columns,))
        step, offset = read_array(data, offset, "<f4", (columns,))
        packed, end = read_array(data, offset, "u1", (packed_size(count, widths),))
        expect_end(data, end)
        codes = unpack_rows(packed, widths, np.arange(count))
        values = low.astype(np.float64) + codes * step.astype(np.float64)
        return values.astype(np.float32).reshape(shape)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """See `Codec`; exact up to the head."""
        columns = array.shape[1] if array.ndim == 2 else 1
        return torch.tensor(8.0 * (6 + 8 * columns) + self.bits * array.numel())
