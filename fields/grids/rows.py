"""Numbers of a parameter on a grid, as rows that the codec of vectors takes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vq.asset import AssetWriter
from vq.plan import VectorCodec

_ROW = 32
"""Numbers of a row that is coded together."""
_FINEST = 1e-9


def write_rows(writer: AssetWriter, name: str, values: NDArray[np.float32], step: float) -> None:
    """Append numbers on a grid of cells of width `step`; readers know their shape."""
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    rows = np.zeros((-(-flat.size // _ROW), _ROW), dtype=np.float32)
    rows.reshape(-1)[: flat.size] = flat
    codec = VectorCodec(step=max(step, _FINEST), codebooks=())
    writer.array(name, writer.encode(name, rows, codec))


def read_rows(rows: NDArray, shape: tuple[int, ...]) -> NDArray:
    """The numbers of a shape that `write_rows` appended.

    Raises:
        ValueError: There are more or fewer.
    """
    count = math.prod(shape)
    if not 0 <= rows.size - count < _ROW:
        raise ValueError(f"{rows.size} numbers for a shape of {list(shape)}")
    return rows.reshape(-1)[:count].reshape(shape)
