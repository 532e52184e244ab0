"""Sets of points with attributes as one integer matrix, in the order that costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..contract import MAX_ITEMS, CodecError
from ..sets.coarsening import Coarsening
from ..sets.codec import canonical_order, decode, encode
from ..sets.container import UPPER_BITS


class SetCodec:
    """int32 [N, 3 + c]: three coordinates of a lattice point and c attributes per row.

    The rows come back in `set_order`; rows that are in that order come back as they are. The bytes
    are those of `vq.sets.codec`, the attributes named by their number.
    """

    name = "set"
    lossless = False  # the order is lost, and nothing else

    def __init__(
        self,
        *,
        preset: Literal["small", "fast"] = "small",
        coarsenings: Mapping[str, Coarsening] | None = None,
    ) -> None:
        """`preset` and `coarsenings` (of attributes "0", "1", ...) as in `vq.sets.codec.encode`;
        they do not matter for decoding."""
        self.preset: Literal["small", "fast"] = preset
        self.coarsenings = coarsenings

    def encode(self, array: NDArray[Any]) -> bytes:
        """See `Codec`."""
        if array.dtype != np.int32 or array.ndim != 2 or array.shape[1] < 3:
            raise ValueError(
                f"`array` must be int32 [N, 3 or more], got {array.dtype} {list(array.shape)}."
            )
        columns = {str(index): column for index, column in enumerate(array.T[3:])}
        positions = np.ascontiguousarray(array[:, :3])
        return encode(positions, columns, coarsenings=self.coarsenings, preset=self.preset)

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[np.int32]:
        """See `Codec`."""
        positions, columns = decode(data, max_items=max_items)
        parts = [positions, *(column[:, None] for column in columns.values())]
        if any(part.dtype != np.int32 for part in parts):
            raise CodecError("a column is not of type int32", offset=0)
        return np.concatenate(parts, axis=1)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """See `Codec`; entropy of the columns without contexts, so an upper estimate."""
        from ..entropy.rate import rate

        return rate(array, columns=True)


def set_order(array: NDArray[np.int32]) -> NDArray[np.int64]:
    """Row i of what `SetCodec` gives back is row `set_order(array)[i]`."""
    if len(array) == 0:
        return np.zeros(0, np.int64)
    lattice = array[:, :3].astype(np.int64)
    lattice -= lattice.min(axis=0)
    low = max(0, int(lattice.max()).bit_length() - UPPER_BITS)
    # By their value, which orders columns of any sign like what is coded above their minimum.
    columns = [*array.T[3:]]
    if low:
        columns = [*(lattice & ((1 << low) - 1)).T, *columns]
    return canonical_order((lattice >> low).astype(np.uint32), columns)
