"""Type and shape of an array, as files state them before anything is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import HeaderError
from .layout import MAX_DIMENSIONS

DTYPES = (
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
)
MAX_EXTENT = 1 << 48
"""Bound on `extent` of any array in a file."""


@dataclass(frozen=True)
class ArrayType:
    """Element type and shape."""

    dtype: str
    """One of `DTYPES`."""
    shape: tuple[int, ...]
    """Lengths, outermost first."""

    @classmethod
    def of(cls, array: NDArray[Any]) -> ArrayType:
        """The type of an existing array.

        Raises:
            TypeError: Files hold no such element type.
        """
        if array.dtype.name not in DTYPES:
            raise TypeError(f"an asset holds {', '.join(DTYPES)}; got {array.dtype.name}.")
        return cls(array.dtype.name, array.shape)

    @classmethod
    def from_json(cls, dtype: Any, shape: Any) -> ArrayType:
        """Check what a header claims.

        Raises:
            HeaderError: Wrong type, unknown element type, absurd length.
        """
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise HeaderError(f"`dtype` must be one of {', '.join(DTYPES)}, got {dtype!r:.60}.")
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
            raise HeaderError(f"`shape` must list at most {MAX_DIMENSIONS} lengths.")
        for length in shape:
            if type(length) is not int or not 0 <= length <= MAX_EXTENT:
                raise HeaderError(f"`shape` must hold lengths from 0 to 2^48, got {length!r:.60}.")
        if extent(tuple(shape)) > MAX_EXTENT:
            raise HeaderError(f"`shape` {shape} spans more than 2^48 elements.")
        return cls(dtype, tuple(shape))

    @property
    def is_integer(self) -> bool:
        """Whether the elements are integers."""
        return "int" in self.dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """Bytes of the decoded array."""
        return self.size * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def extent(shape: tuple[int, ...]) -> int:
    """Product of the lengths with 0 counted as 1: what bounds the shape of an empty array too."""
    return math.prod(max(1, length) for length in shape)
