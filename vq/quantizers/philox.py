"""Random numbers that are the same on every machine: integers only, addressed by a counter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_CHUNK = 1 << 18

NORMAL_STD = (8 * (2**32 - 1) / 12) ** 0.5 / 2**16
"""Standard deviation of `portable_normals`, sqrt(2/3) up to 2^-33."""


def philox4x32(counters: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """The block cipher Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2,
    3", SC 2011: 128 random bits for each counter.

    Args:
        counters: [n, 4], each below 2^32.
        key: 64 bits; the low half is the first word.

    Returns:
        [n, 4], each below 2^32.
    """
    a, b, c, d = counters.T
    for turn in range(_ROUNDS):
        low = np.uint64((key + turn * _KEY_STEPS[0]) & 0xFFFFFFFF)
        high = np.uint64(((key >> 32) + turn * _KEY_STEPS[1]) & 0xFFFFFFFF)
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = (
            (second >> _HALF) ^ b ^ low,
            second & _LOW,
            (first >> _HALF) ^ d ^ high,
            first & _LOW,
        )
    return np.stack([a, b, c, d], axis=1)


def portable_normals(seed: int, count: int) -> NDArray[np.float32]:
    """`count` numbers, nearly normal, mean 0, standard deviation `NORMAL_STD`, from `seed` alone.

    Each is a sum of eight 16-bit integers (Irwin and Hall; excess kurtosis -0.15), centered and
    divided by 2^16: 20 bits with the sign, exact in float32. Number i depends on `seed` and i
    alone.

    Args:
        seed: 0 to 2^64 - 1.
        count: How many.
    """
    out = np.empty(count, np.float32)
    for start in range(0, count, _CHUNK):
        places = np.arange(start, min(count, start + _CHUNK), dtype=np.uint64)
        counters = np.zeros((len(places), 4), np.uint64)
        counters[:, 0], counters[:, 1] = places & _LOW, places >> _HALF
        words = philox4x32(counters, seed)
        sums = ((words & np.uint64(0xFFFF)) + (words >> np.uint64(16))).sum(1)
        out[start : start + len(places)] = (sums.astype(np.int64) - 4 * 0xFFFF) / 2.0**16
    return out
