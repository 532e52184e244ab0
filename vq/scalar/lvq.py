"""Locally-adaptive vector quantization: one scale per row, and codes of so many bits.

Aguerrebere et al., "Similarity search in the blink of an eye with compressed indices", VLDB 2023.
Random access by row; suits rows whose range varies from one to the next.
"""

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


class LvqCodec:
    """LVQ-B or LVQ-B1xB2.

    With the mean μ of all rows, l and u the least and greatest entry of x - μ, and
    Δ = (u - l) / (2^B - 1): code = floor((x - μ - l) / Δ + 1/2). The second level codes what is
    left, within [-Δ/2, Δ/2), uniformly with B2 bits and needs no constants of its own.

    Bytes: head, both numbers of bits, μ as float32, then l and u of every row as float16, the
    codes of the first level and those of the second, each packed without gaps.

    Args:
        bits: Of the first level, 1 to 8.
        residual_bits: Of the second level, 0 to 8; 0 for one level.
    """

    name = "lvq"
    lossless = False

    def __init__(self, bits: int = 8, residual_bits: int = 0) -> None:
        if not 1 <= bits <= 8 or not 0 <= residual_bits <= 8:
            raise ValueError(
                "`bits` must be in [1, 8] and `residual_bits` in [0, 8], "
                f"got {bits} and {residual_bits}."
            )
        self.bits, self.residual_bits = bits, residual_bits

    def encode(self, array: NDArray[Any]) -> bytes:
        """See `Codec`; rows [n, d], or a vector as rows of one."""
        rows = as_rows(array)
        mean = rows.mean(0) if len(rows) else np.zeros(rows.shape[1], np.float32)
        centered = rows - mean
        low = _half(centered.min(1), up=False)
        high = _half(centered.max(1), up=True)
        delta = _delta(low, high, self.bits)
        safe = np.where(delta > 0, delta, 1)[:, None]
        scaled = (centered.astype(np.float64) - low[:, None]) / safe
        codes = np.clip(np.floor(scaled + 0.5), 0, 2**self.bits - 1)
        fine = np.floor((scaled - codes + 0.5) * 2**self.residual_bits)
        fine = np.clip(fine, 0, 2**self.residual_bits - 1)
        tables = [mean.astype("<f4"), np.stack([low, high], 1).astype("<f2")]
        return b"".join(
            [
                write_head(np.asarray(array)) + bytes([self.bits, self.residual_bits]),
                *(table.tobytes() for table in tables),
                pack_rows(codes.astype(np.int64), [self.bits] * rows.shape[1]),
                pack_rows(fine.astype(np.int64), [self.residual_bits] * rows.shape[1]),
            ]
        )

    def decode(
        self, data: bytes, *, max_items: int = MAX_ITEMS, levels: int = 2
    ) -> NDArray[np.float32]:
        """See `Codec`; `levels=1` ignores the second level."""
        shape, count, columns, offset = read_head(data, max_items)
        if len(data) < offset + 2 or not 1 <= data[offset] <= 8 or data[offset + 1] > 8:
            raise CodecError("no numbers of bits", offset=offset)
        bits, residual_bits = data[offset], data[offset + 1]
        mean, offset = read_array(data, offset + 2, "<f4", (columns,))
        bounds, offset = read_array(data, offset, "<f2", (count, 2))
        widths = [bits] * columns, [residual_bits] * columns
        first, offset = read_array(data, offset, "u1", (packed_size(count, widths[0]),))
        second, offset = read_array(data, offset, "u1", (packed_size(count, widths[1]),))
        expect_end(data, offset)
        low, high = bounds.astype(np.float64).T
        delta = _delta(low, high, bits)[:, None]
        values = unpack_rows(first, widths[0], np.arange(count)).astype(np.float64)
        if residual_bits and levels == 2:
            fine = unpack_rows(second, widths[1], np.arange(count))
            values += (fine + 0.5) * 2.0**-residual_bits - 0.5
        return (low[:, None] + values * delta + mean).astype(np.float32).reshape(shape)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """See `Codec`; exact up to the head."""
        columns = array.shape[1] if array.ndim == 2 else 1
        codes = (self.bits + self.residual_bits) * array.numel()
        return torch.tensor(8.0 * (7 + 4 * columns) + 32.0 * len(array) + codes)


def _half(values: NDArray[np.float32], *, up: bool) -> NDArray[np.float64]:
    """Float16 bounds that contain the values."""
    limit = float(np.finfo(np.float16).max)
    if len(values) and np.abs(values).max() > limit:
        raise ValueError(f"`array` spreads over more than {limit:,.0f}, what float16 bounds hold.")
    rounded = values.astype(np.float16)
    beyond = np.nextafter(rounded, np.float16(np.inf if up else -np.inf))
    outside = rounded < values if up else rounded > values
    return np.where(outside, beyond, rounded).astype(np.float64)


def _delta(low: NDArray[np.float64], high: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    return (high - low) / (2**bits - 1)
