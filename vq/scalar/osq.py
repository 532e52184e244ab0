"""SQUASH's optimized scalar quantization: bits where the variance is, packed across bytes.

"SQUASH" (arXiv 2502.01528): after a KLT, bits go to dimensions one by one, always to the one that
loses most, as each bit divides a dimension's distortion by four (the rule of VA+ files). Each
dimension has its own Lloyd cells. Codes lie end to end without regard to bytes, so that a row takes
exactly the sum of its bits and every row can be read alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..contract import MAX_ITEMS, CodecError
from ..entropy.bits import read_varint, write_varint
from ..transforms.klt import fit_klt
from ..transforms.linear import LinearTransform
from .bitpack import pack_rows, packed_size, unpack_rows
from .head import as_rows, expect_end, read_array, read_head, write_head

MAX_BITS = 10
"""Most bits of a dimension: its 2^bits levels are side information."""
TRAINING_ROWS = 1 << 16


def allocate_bits(
    variances: NDArray[np.floating], total: int, *, most: int = MAX_BITS
) -> NDArray[np.int64]:
    """Bits per dimension, summing to `total`: each goes to argmax σ² 4^(-bits) of those below
    `most`."""
    values = np.asarray(variances, dtype=np.float64)
    if total > most * len(values):
        raise ValueError(f"`total` must be at most {most * len(values)}, got {total}.")
    bits = np.zeros(len(values), dtype=np.int64)
    for _ in range(total):
        gains = np.where(bits < most, values * 4.0**-bits, -1)
        bits[int(np.argmax(gains))] += 1
    return bits


class OsqCodec:
    """A KLT, bits by variance, Lloyd cells, packed rows.

    Bytes: head, the transform behind its length, bits per dimension, levels of each dimension as
    float16 of its standard deviation (float32), packed codes.

    Args:
        bits_per_row: The sum of the bits of a row.
    """

    name = "osq"
    lossless = False

    def __init__(self, bits_per_row: int = 48) -> None:
        if bits_per_row < 0:
            raise ValueError(f"`bits_per_row` must not be negative, got {bits_per_row}.")
        self.bits_per_row = bits_per_row

    def encode(self, array: NDArray[Any]) -> bytes:
        """See `Codec`; rows [n, d], n >= 1."""
        rows = as_rows(array)
        if len(rows) == 0:
            return write_head(np.asarray(array))
        transform = fit_klt(rows)
        coefficients = transform.forward(rows)
        deviations = coefficients.std(0).astype(np.float32)
        widths = allocate_bits(np.square(deviations), self.bits_per_row)
        codes = np.zeros(coefficients.shape, dtype=np.int64)
        levels = []
        every = -(-len(rows) // TRAINING_ROWS)
        for j, width in enumerate(widths):
            scaled = coefficients[:, j] / max(float(deviations[j]), 1e-30)
            level = _lloyd(scaled[::every], int(width))
            codes[:, j] = np.searchsorted((level[1:] + level[:-1]) / 2, scaled)
            levels.append(level)
        side = transform.to_bytes()
        tables = deviations.astype("<f4").tobytes() + bytes(widths.tolist())
        tables += np.concatenate(levels).astype("<f2").tobytes()
        packed = pack_rows(codes, widths.tolist())
        return write_head(np.asarray(array)) + write_varint(len(side)) + side + tables + packed

    def decode(
        self,
        data: bytes,
        *,
        max_items: int = MAX_ITEMS,
        rows: NDArray[np.integer] | None = None,
    ) -> NDArray[np.float32]:
        """See `Codec`; `rows` decodes only those, reading only their bytes."""
        shape, count, columns, offset = read_head(data, max_items)
        if count == 0:
            expect_end(data, offset)
            return np.zeros(shape, np.float32)
        size, offset = read_varint(data, offset)
        transform = LinearTransform.from_bytes(data[offset : offset + size])
        if transform.rows.shape != (columns, columns):
            raise CodecError("a transform of another width", offset=offset)
        deviations, offset = read_array(data, offset + size, "<f4", (columns,))
        widths, offset = read_array(data, offset, "u1", (columns,))
        if widths.max() > MAX_BITS:
            raise CodecError(f"{widths.max()} bits for a dimension", offset=offset)
        sizes = 1 << widths.astype(np.int64)
        levels, offset = read_array(data, offset, "<f2", (int(sizes.sum()),))
        packed, end = read_array(data, offset, "u1", (packed_size(count, widths.tolist()),))
        expect_end(data, end)
        wanted = np.arange(count) if rows is None else np.asarray(rows)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < count:
            raise ValueError(f"`rows` must be in [0, {count}), got {wanted.min()}..{wanted.max()}.")
        codes = unpack_rows(packed, widths.tolist(), wanted) + (np.cumsum(sizes) - sizes)
        coefficients = np.round(levels.astype(np.float64)[codes] * deviations * 2.0**_UNIT)
        if not (np.abs(coefficients) < 2.0**53).all():
            raise CodecError("levels that are not finite, or too large", offset=offset)
        try:
            found = transform.inverse_integers(coefficients.astype(np.int64), 2.0**-_UNIT)
        except ValueError as error:
            raise CodecError(str(error), offset=offset) from None
        return found.reshape(shape) if rows is None else found

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """See `Codec`; the codes alone, which are the same for every content."""
        return torch.tensor(float(self.bits_per_row * len(array)))


_UNIT = 20


def _lloyd(values: NDArray[np.floating], width: int) -> NDArray[np.float64]:
    """2^width ascending levels: Lloyd's alternation from equally likely cells, float16 exact."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = 1 << width
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    places = (np.arange(count) + 0.5) / count * len(ordered)
    levels = ordered[np.minimum(places.astype(np.int64), len(ordered) - 1)]
    for _ in range(30):
        edges = np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(ordered)]])
        sizes = np.diff(edges)
        means = (sums[edges[1:]] - sums[edges[:-1]]) / np.maximum(sizes, 1)
        levels = np.sort(np.where(sizes > 0, means, levels))
    return levels.astype(np.float16).astype(np.float64)
