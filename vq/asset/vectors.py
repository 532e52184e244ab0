"""Rows of numbers that belong to lattice points, coded with what their neighbors in space hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int32
from numpy.typing import NDArray
from torch import Tensor

from .. import plan
from ..contract import MAX_ITEMS, CodecError
from ..entropy.bits import read_varint
from ..sets.neighbors import earlier_neighbors
from ..vectors.coefficients import SEGMENT_ROWS
from ..vectors.reference import NEIGHBORS

_COORDINATE_BITS = 30  # of `earlier_neighbors`


class PlacedVectorsCodec:
    """float32 [N, d] or [N, m, k] with the int32 points [N, 3] as an input, best in Morton order.

    The bytes are those of `vq.plan.encode`; the points name the eight nearest earlier rows.
    """

    name = "placed_vectors"
    lossless = False
    num_inputs = 1

    def __init__(self, *, step: float = 0.1, codebooks: tuple[int, ...] = plan.CODEBOOKS) -> None:
        """
        Args:
            step: Width of the quantizer's cells.
            codebooks: Sizes of vector quantizers to try as a base.
        """
        self.step, self.codebooks = step, codebooks

    def encode(self, array: NDArray[Any], points: NDArray[Any]) -> bytes:
        """See `Codec`."""
        chosen = plan.fit(array, step=self.step, codebooks=self.codebooks)
        return plan.encode(array, chosen, neighbors=neighbors_of(points))

    def decode(
        self, data: bytes, points: NDArray[Any], *, max_items: int = MAX_ITEMS
    ) -> NDArray[np.float32]:
        """See `Codec`."""
        if points.dtype != np.int32 or points.ndim != 2 or points.shape[1] != 3:
            raise CodecError(
                f"points must be int32 [N, 3], got {points.dtype} {list(points.shape)}", offset=0
            )
        if read_varint(data, 0)[0] != len(points):
            raise CodecError(f"rows for other than {len(points)} points", offset=0)
        return plan.decode(data, neighbors=neighbors_of(points), max_items=max_items)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """See `Codec`; without the points."""
        return plan.VectorCodec(step=self.step).rate(array)


def neighbors_of(points: NDArray[np.int32]) -> Int32[np.ndarray, "n k"]:
    """The nearest earlier points of each, counted from the beginning of its segment."""
    if len(points) == 0:
        return np.zeros((0, NEIGHBORS), np.int32)
    lattice = points.astype(np.int64)
    lattice -= lattice.min(axis=0)
    lattice >>= max(0, int(lattice.max()).bit_length() - _COORDINATE_BITS)
    segments = [
        earlier_neighbors(lattice[start : start + SEGMENT_ROWS].astype(np.uint32), NEIGHBORS)
        for start in range(0, len(points), SEGMENT_ROWS)
    ]
    return np.concatenate(segments)
