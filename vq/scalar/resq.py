"""ResQ: the directions of most variance in high precision, the rotated rest in low.

Saxena et al., "ResQ: mixed-precision quantization with low-rank residuals" (2024): the top d/8
principal directions in 8 bits, the others in 4, each block turned by a random rotation so that its
values are nearly Gaussian and without outliers. The rotations are part of the stored directions.
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
from ..transforms.hadamard import RandomizedHadamard
from ..transforms.klt import fit_klt
from ..transforms.linear import LinearTransform
from .bitpack import pack_rows, packed_size, unpack_rows
from .head import as_rows, expect_end, read_array, read_head, write_head


class ResqCodec:
    """Two precisions over principal directions; fixed rate and random access.

    Bytes: head, high rank, both numbers of bits, the turned directions behind their length, step
    of each block as float32, packed codes.

    Args:
        high_rank: Directions in high precision; None takes d/8, rounded up.
        high_bits: Their bits, 1 to 12.
        low_bits: Bits of the other directions, 1 to 12.
        seed: Of the rotations.
    """

    name = "resq"
    lossless = False

    def __init__(
        self,
        *,
        high_rank: int | None = None,
        high_bits: int = 8,
        low_bits: int = 4,
        seed: int = 0,
    ) -> None:
        if not 1 <= low_bits <= 12 or not 1 <= high_bits <= 12:
            raise ValueError(f"bits must be in [1, 12], got {high_bits} and {low_bits}.")
        self.high_rank, self.high_bits, self.low_bits = high_rank, high_bits, low_bits
        self.seed = seed

    def encode(self, array: NDArray[Any]) -> bytes:
        """See `Codec`; rows [n, d]."""
        rows = as_rows(array)
        if len(rows) == 0:
            return write_head(np.asarray(array))
        dim = rows.shape[1]
        high = min(-(-dim // 8) if self.high_rank is None else self.high_rank, dim)
        klt = fit_klt(rows)
        turned = np.concatenate(
            [_rotation(high, self.seed), _rotation(dim - high, self.seed + 1)], axis=None
        )
        rotation = np.zeros((dim, dim))
        rotation[:high, :high] = turned[: high * high].reshape(high, high)
        rotation[high:, high:] = turned[high * high :].reshape(dim - high, dim - high)
        directions = rotation @ klt.rows * 2.0**-klt.bits
        transform = LinearTransform.of(directions, mean=klt.mean)
        coefficients = transform.forward(rows)
        widths = [self.high_bits] * high + [self.low_bits] * (dim - high)
        steps = [
            _best_step(block, bits)
            for block, bits in (
                (coefficients[:, :high], self.high_bits),
                (coefficients[:, high:], self.low_bits),
            )
        ]
        step = np.repeat(np.array(steps, np.float32), [high, dim - high])
        half = 2.0 ** (np.array(widths) - 1)
        codes = np.clip(np.floor(coefficients / step) + half, 0, 2 * half - 1).astype(np.int64)
        side = transform.to_bytes()
        return b"".join(
            [
                write_head(np.asarray(array)) + write_varint(high),
                bytes([self.high_bits, self.low_bits]) + write_varint(len(side)) + side,
                np.array(steps, "<f4").tobytes(),
                pack_rows(codes, widths),
            ]
        )

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[np.float32]:
        """See `Codec`."""
        shape, count, columns, offset = read_head(data, max_items)
        if count == 0:
            expect_end(data, offset)
            return np.zeros(shape, np.float32)
        high, offset = read_varint(data, offset)
        bits, offset = read_array(data, offset, "u1", (2,))
        if high > columns or not 1 <= bits.min() <= bits.max() <= 12:
            raise CodecError(f"{high} directions in {bits[0]} and {bits[1]} bits", offset=offset)
        size, offset = read_varint(data, offset)
        transform = LinearTransform.from_bytes(data[offset : offset + size])
        if transform.rows.shape != (columns, columns):
            raise CodecError("a transform of another width", offset=offset)
        steps, offset = read_array(data, offset + size, "<f4", (2,))
        widths = [int(bits[0])] * high + [int(bits[1])] * (columns - high)
        packed, end = read_array(data, offset, "u1", (packed_size(count, widths),))
        expect_end(data, end)
        codes = unpack_rows(packed, widths, np.arange(count))
        step = np.repeat(steps.astype(np.float64), [high, columns - high])
        # Cells lie on both sides of zero, so that each value is the middle of its cell.
        values = (codes - 2.0 ** (np.array(widths) - 1) + 0.5) * step
        try:
            return transform.inverse(values).reshape(shape)
        except ValueError as error:
            raise CodecError(str(error), offset=offset) from None

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """See `Codec`; the codes alone."""
        dim = array.shape[1]
        high = min(-(-dim // 8) if self.high_rank is None else self.high_rank, dim)
        return torch.tensor(
            float(len(array) * (high * self.high_bits + (dim - high) * self.low_bits))
        )


def _rotation(dim: int, seed: int) -> NDArray[np.float64]:
    """[dim, dim] orthonormal: the nearest to the leading part of a randomized Hadamard matrix."""
    if dim == 0:
        return np.zeros((0, 0))
    mixing = RandomizedHadamard(dim, seed=seed).forward(np.eye(dim, dtype=np.float32))[:, :dim]
    left, _, right = np.linalg.svd(mixing.astype(np.float64))
    return left @ right


def _best_step(block: NDArray[np.float32], bits: int) -> float:
    """The step of least squared error among clipping points from the deviation to the extreme."""
    largest = float(np.abs(block).max(initial=0))
    if largest == 0:
        return 1.0
    sample = block[:: -(-len(block) // 4096)].astype(np.float64)
    half = 2.0 ** (bits - 1)

    def error(step: float) -> float:
        codes = np.clip(np.floor(sample / step), -half, half - 1)
        return float(np.square(sample - (codes + 0.5) * step).sum())

    return float(min((largest / half * share for share in np.linspace(0.15, 1, 30)), key=error))
