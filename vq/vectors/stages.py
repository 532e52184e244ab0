"""A plan: how rows become bytes, as data."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import CodecError
from ..entropy.bits import read_varint, write_varint
from .basis import KINDS, Basis
from .coefficients import MAX_DIMS
from .integers import pack_integers, unpack_integers

VERSION = 1
STEP_BITS = 8
"""Reconstructed coefficients are integers in 1 / 256 of the step."""
TABLE_BITS = 2
"""The mean and the codes are integers in a quarter of the step: finer would not show."""
OFFSET_BITS = 4
"""Reconstruction offsets are integers in 1 / 16 of the step."""
MAX_CODES = 1 << 16
_STEP = struct.Struct("<f")


@dataclass(frozen=True)
class Plan:
    """Rows to bytes: x = mean + code + basis · (quantized coefficients), all of it integers.

    With u = step / 2^(8 + basis bits), every term is an integer number of u, so that decoding is
    one exact product and one rounding: the same bits on every machine.
    """

    shape: tuple[int, int]
    """(m, k): each row is m x k values; (d, 1) for plain vectors."""
    step: float
    """Width of the quantizer's cells, a float32 value; one for all coefficients, as reverse
    water-filling wants it."""
    mean: NDArray[np.int32]
    """[m k] in quarter steps."""
    codes: NDArray[np.int32]
    """[K, m k] in quarter steps: the base that a vector quantizer takes out first; K = 0 for none.
    """
    basis: Basis
    """Directions of what is left."""
    offsets: NDArray[np.int32]
    """[r, 3] sixteenths of a step that the reconstructions of 1, 2 and 3.. lie off their integer.
    """
    trade: float = 0.1
    """Squared steps that the encoder gives for a bit; not stored, decoding does not need it."""

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The plan as a list of stages with their settings, for people and for headers."""
        base = [{"stage": "vq", "codes": len(self.codes)}] if len(self.codes) else []
        directions = {
            "stage": type(self.basis).__name__,
            "directions": len(self.offsets),
            "bits": self.basis.bits,
        }
        quantizer = {"stage": "dead-zone", "step": self.step, "trade": self.trade}
        return [{"stage": "center"}, *base, directions, quantizer, {"stage": "mixed contexts"}]

    @property
    def centroids(self) -> NDArray[np.float32]:
        """[r, 3] where 1, 2 and 3 are reconstructed, in steps."""
        return (np.arange(1, 4) + self.offsets / 2.0**OFFSET_BITS).astype(np.float32)

    def to_bytes(self) -> bytes:
        """Version, kind of basis, shape, K, step; then the tables."""
        head = bytes([VERSION, KINDS.index(type(self.basis))])
        head += b"".join(map(write_varint, (*self.shape, len(self.codes))))
        tables = pack_integers(self.mean[:, None])
        if len(self.codes):
            tables += pack_integers(self.codes)
        return (
            head
            + _STEP.pack(self.step)
            + tables
            + self.basis.to_bytes()
            + pack_integers(self.offsets)
        )

    @classmethod
    def read(cls, data: bytes, offset: int = 0) -> tuple[Plan, int]:
        """The plan at `offset` and the offset behind it.

        Raises:
            CodecError: There is none.
        """
        if len(data) < offset + 2 or data[offset] != VERSION or data[offset + 1] >= len(KINDS):
            raise CodecError("no plan that this version knows", offset=offset)
        kind = KINDS[data[offset + 1]]
        m, offset = read_varint(data, offset + 2)
        k, offset = read_varint(data, offset)
        num_codes, offset = read_varint(data, offset)
        if not 1 <= m * k <= MAX_DIMS or num_codes > MAX_CODES or len(data) < offset + _STEP.size:
            raise CodecError(f"a plan for rows of {m} x {k} with {num_codes} codes", offset=offset)
        (step,) = _STEP.unpack_from(data, offset)
        if not 0 < step < 1e30:
            raise CodecError(f"a step of {step}", offset=offset)
        mean, offset = unpack_integers(data, offset + _STEP.size, m * k, 1)
        codes = np.zeros((0, m * k), dtype=np.int32)
        if num_codes:
            codes, offset = unpack_integers(data, offset, num_codes, m * k)
        basis, offset = kind.read(data, offset, (m, k))
        rank = len(basis.rows)
        offsets, offset = unpack_integers(data, offset, rank, 3)
        return cls((m, k), step, mean[:, 0], codes, basis, offsets), offset
