"""The discrete cosine transform, for values that run smoothly along a row."""

from __future__ import annotations

import math

import numpy as np

from .linear import LinearTransform


def dct(length: int, *, rank: int | None = None, bits: int = 14) -> LinearTransform:
    """The orthonormal DCT-II of rows of `length`, lowest frequency first.

    c_k = sqrt((2 - [k = 0]) / d) sum_i x_i cos(pi k (2 i + 1) / (2 d)); `rank` keeps the first.

    Raises:
        ValueError: `length` is not positive.
    """
    if length < 1:
        raise ValueError(f"`length` must be at least 1, got {length}.")
    directions = np.array(
        [
            [
                math.sqrt((2 - (k == 0)) / length)
                * math.cos(math.pi * (k * (2 * i + 1) % (4 * length)) / (2 * length))
                for i in range(length)
            ]
            for k in range(length if rank is None else rank)
        ]
    )
    return LinearTransform.of(directions, bits=bits)
