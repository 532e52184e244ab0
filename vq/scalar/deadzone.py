"""Entropy-constrained scalar quantization with a dead zone: columns of numbers near the bound.

One step for all columns is reverse water-filling: each column spends ½ log2(variance / step²) bits
or, where it holds less than that, none. Values are rounded by rate and distortion, which widens the
cell around zero just as far as pays, and reconstructed at the mean of their cells. On Gaussian data
this is the entropy-constrained scalar quantizer, 0.25 bit from Shannon's bound at high rates and
less below (Sullivan, "Efficient scalar quantization of exponential and Laplacian random variables",
1996).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..contract import MAX_ITEMS, CodecError
from ..entropy import rans
from ..entropy.bits import read_varint, write_varint
from ..vectors.coefficients import (
    MAX_DIMS,
    STATIONARY,
    Rounding,
    decode_coefficients,
    encode_coefficients,
    num_segments,
)
from ..vectors.integers import pack_integers, unpack_integers
from .head import as_rows, expect_end, read_array, read_head, write_head

OFFSET_BITS = 8
"""Centers of cells are stored in 1 / 256 of the step."""
FINE = 2.0
"""Mean magnitude in steps above which a dead zone gains nothing."""
_STEP = struct.Struct("<f")


class DeadZoneCodec:
    """Rows [n, d] in cells of one width.

    Bytes: head, step and the columns' means as float32, offsets of the reconstructions of 1, 2 and
    3.. from their integers, one byte that names the coder, and its streams: the context coder's
    behind their lengths, or the static one's where that is shorter (no context tells anything).

    Args:
        step: Width of the cells.
        trade: Squared steps that the encoder gives for a bit; 0 rounds to the nearest.
    """

    name = "deadzone"
    lossless = False

    def __init__(self, step: float = 0.1, *, trade: float = 0.1) -> None:
        if not step > 0 or not trade >= 0:
            raise ValueError(f"`step` must be positive, `trade` not negative: {step}, {trade}.")
        self.step, self.trade = float(np.float32(step)), trade

    def encode(self, array: NDArray[Any]) -> bytes:
        """See `Codec`; [n] or [n, d <= 1024], within 2^19 steps of the columns' means."""
        rows = as_rows(array)
        if rows.shape[1] > MAX_DIMS:
            raise ValueError(f"`array` must have at most {MAX_DIMS} columns, got {rows.shape[1]}.")
        mean = rows.mean(0, dtype=np.float64) if len(rows) else np.zeros(rows.shape[1])
        mean = mean.astype("<f4")
        scaled = (rows - mean) / np.float32(self.step)
        if np.abs(scaled).max(initial=0) >= 1 << 19:
            raise ValueError("`array` reaches 2^19 steps from its mean; use a larger step.")
        # Where few values are near zero, one width for all cells is best, and so is plain rounding.
        trade = 0.0 if scaled.size and np.abs(scaled).mean() > FINE else self.trade
        plain = np.tile(np.arange(1, 4, dtype=np.float32), (rows.shape[1], 1))
        values = np.zeros(scaled.shape, dtype=np.int32)
        encode_coefficients(values, rounding=Rounding(scaled, plain, trade), count_limit=STATIONARY)
        offsets = _offsets(scaled, values)
        centers = (plain + offsets / 2.0**OFFSET_BITS).astype(np.float32)
        streams = encode_coefficients(
            values, rounding=Rounding(scaled, centers, trade), count_limit=STATIONARY
        )
        offsets = _offsets(scaled, values)
        parts = [write_head(np.asarray(array)), _STEP.pack(self.step), mean.tobytes()]
        parts += [pack_integers(offsets)]
        mixed = b"".join(write_varint(len(stream)) + stream for stream in streams)
        static = rans.encode(values, columns=True)
        parts += [b"\1" + static if len(static) < len(mixed) else b"\0" + mixed]
        return b"".join(parts)

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[np.float32]:
        """See `Codec`."""
        shape, count, columns, offset = read_head(data, max_items)
        if columns > MAX_DIMS:
            raise CodecError(f"{columns} columns", offset=offset)
        steps, offset = read_array(data, offset, "<f4", (1,))
        mean, offset = read_array(data, offset, "<f4", (columns,))
        offsets, offset = unpack_integers(data, offset, columns, 3)
        values = _decode_values(data, offset, count, columns)
        magnitudes = np.abs(values.astype(np.int64))
        centers = np.concatenate([np.zeros((columns, 1)), offsets], axis=1) * 2.0**-OFFSET_BITS
        shifts = np.take_along_axis(centers.T, np.minimum(magnitudes, 3), axis=0)
        found = np.copysign(magnitudes + shifts, values) * steps.astype(np.float64)
        return (found.astype(np.float32) + mean).reshape(shape)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """See `Codec`; of rounding to the nearest, under one static table per column."""
        rows = array if array.ndim == 2 else array[:, None]
        return rans.RansCodec().rate((rows - rows.mean(0)) / self.step)


def _decode_values(data: bytes, offset: int, count: int, columns: int) -> NDArray[np.int32]:
    """The integers [count, columns] that the rest of `data` holds."""
    if data[offset : offset + 1] == b"\1":
        found = rans.decode(data[offset + 1 :], max_items=count * columns)
        if found.shape != (count, columns) or found.dtype != np.int32:
            raise CodecError("values of another shape or type", offset=offset)
        return found
    if data[offset : offset + 1] != b"\0":
        raise CodecError("no coder that this version knows", offset=offset)
    streams, at = [], offset + 1
    for _ in range(num_segments(count)):
        size, start = read_varint(data, at)
        streams.append(data[start : start + size])
        at = start + size
    expect_end(data, at)
    values = decode_coefficients(streams, count, columns, count_limit=STATIONARY)
    if values is None:
        raise CodecError("values that no encoder wrote", offset=offset)
    return values


def _offsets(scaled: NDArray[np.float32], values: NDArray[np.int32]) -> NDArray[np.int32]:
    """[d, 3] how far the mean of what became 1, 2 and 3.. lies off, in 1 / 256 of the step."""
    magnitudes = np.abs(values)
    beyond = np.copysign(1, values) * scaled - magnitudes
    columns = []
    for m in (1, 2, 3):
        chosen = magnitudes == m if m < 3 else magnitudes >= m
        columns.append((beyond * chosen).sum(0, dtype=np.float64) / (chosen.sum(0) + 4))
    limit = 2 ** (OFFSET_BITS - 1)
    return np.clip(np.round(np.stack(columns, 1) * 2 * limit), -limit, limit).astype(np.int32)
