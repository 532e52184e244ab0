"""The randomized Hadamard transform, a fast Johnson-Lindenstrauss rotation.

Ailon and Chazelle, "The fast Johnson-Lindenstrauss transform", 2009; three rounds of signs and
butterflies come close to a random rotation, in d log d operations. It spreads outliers over all
dimensions, which suits fixed-rate quantizers of data without known covariance, and costs an
entropy coder all of the KLT's gain.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from ..contract import CodecError
from ..quantizers.philox import philox4x32

_HEAD = struct.Struct("<BBHQ")
_VERSION = 1
MAX_ROUNDS = 15


class RandomizedHadamard:
    """y = (H D_k / sqrt(p)) ... (H D_1 / sqrt(p)) x, with random signs D and p the next power of 2.

    Additions in a fixed order and one multiplication per round: the same bits everywhere.

    Args:
        dim: Length d of the rows; they are padded with zeros to p.
        seed: 0 to 2^64 - 1; all that a file needs to know of the signs.
        rounds: How often signs and butterflies alternate.
    """

    def __init__(self, dim: int, *, seed: int = 0, rounds: int = 3) -> None:
        if not 1 <= dim <= 65535 or not 1 <= rounds <= MAX_ROUNDS:
            raise ValueError(
                f"`dim` must be in [1, 65535] and `rounds` in [1, {MAX_ROUNDS}], "
                f"got {dim} and {rounds}."
            )
        self.dim, self.seed, self.rounds = dim, seed, rounds
        self.padded = 1 << (dim - 1).bit_length()
        self.signs = portable_signs(seed, rounds * self.padded).reshape(rounds, self.padded)

    def forward(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Coefficients [n, p] of the rows [n, d]."""
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"`x` must be [n, {self.dim}], got {list(x.shape)}.")
        y = np.zeros((len(x), self.padded), dtype=np.float32)
        y[:, : self.dim] = x
        for signs in self.signs:
            y = _butterflies(y * signs)
        return y

    def inverse(self, coefficients: NDArray[np.floating]) -> NDArray[np.float32]:
        """Rows [n, d] of coefficients [n, p]."""
        if coefficients.ndim != 2 or coefficients.shape[1] != self.padded:
            raise ValueError(
                f"`coefficients` must be [n, {self.padded}], got {list(coefficients.shape)}."
            )
        x = np.asarray(coefficients, dtype=np.float32)
        for signs in self.signs[::-1]:
            x = _butterflies(x) * signs
        return np.ascontiguousarray(x[:, : self.dim])

    def to_bytes(self) -> bytes:
        """Version, rounds, dim and seed: 12 bytes."""
        return _HEAD.pack(_VERSION, self.rounds, self.dim, self.seed)

    @classmethod
    def from_bytes(cls, data: bytes) -> RandomizedHadamard:
        """What `to_bytes` wrote.

        Raises:
            CodecError: It did not write this.
        """
        if len(data) != _HEAD.size:
            raise CodecError(f"{_HEAD.size} bytes expected, got {len(data)}", offset=0)
        version, rounds, dim, seed = _HEAD.unpack(data)
        if version != _VERSION or not 1 <= rounds <= MAX_ROUNDS or dim == 0:
            raise CodecError("no transform that this version knows", offset=0)
        return cls(dim, seed=seed, rounds=rounds)


def portable_signs(seed: int, count: int) -> NDArray[np.float32]:
    """`count` signs, +1 or -1, from `seed` alone: bit i of the Philox stream."""
    blocks = -(-count // 128)
    counters = np.zeros((blocks, 4), dtype=np.uint64)
    counters[:, 0] = np.arange(blocks)
    words = philox4x32(counters, seed).astype("<u4")
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")[:count]
    return 1 - 2 * bits.astype(np.float32)


def _butterflies(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The orthonormal Walsh-Hadamard transform of each row."""
    rows, length = x.shape
    for half in (1 << k for k in range(length.bit_length() - 1)):
        pairs = x.reshape(rows, length // (2 * half), 2, half)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        x = np.stack([first + second, first - second], axis=2).reshape(rows, length)
    return x * np.float32(1 / math.sqrt(length))
