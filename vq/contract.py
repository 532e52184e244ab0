"""What quantizers, transforms and codecs have in common.

A quantizer works on tensors while something is trained, a codec turns a finished array into bytes,
and a transform stands in front of either. Every number of bits that any of them reports counts
what a file would hold, side information included where the docstring says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

MAX_ITEMS = 1 << 32
"""Most values that `Codec.decode` gives back unless the caller says otherwise."""


@dataclass(frozen=True)
class Quantized:
    """What a quantizer made of `[*batch, dim]` vectors."""

    values: Float[Tensor, "*batch dim"]
    """The quantized vectors, with the quantizer's gradient towards its input."""
    indices: Int[Tensor, "*batch stages"]
    """One int64 index per stage or group; column s lies in [0, num_codes[s])."""
    loss: Float[Tensor, ""]
    """What training adds to its own loss (codebook and commitment terms, weighted); 0 if none."""
    bits: Float[Tensor, ""]
    """Bits that an ideal entropy coder spends on all `indices` of this call, under the
    quantizer's own statistics; differentiable where the quantizer has a differentiable rate."""


class Quantizer(nn.Module):
    """Vectors to indices and back, usable inside training.

    A subclass implements `forward`, `encode`, `decode` and `fit`, calls `count` with the indices of
    each training batch, and computes in float32 whatever the input's type (`values` comes back in
    the type of `x`).
    """

    dim: int
    """Length of the vectors."""
    num_codes: tuple[int, ...]
    """Size of each stage's alphabet."""
    counts: Tensor
    """Exponential average of how often each code was used, [sum of num_codes], stages in order."""

    def __init__(self, dim: int, num_codes: tuple[int, ...], *, decay: float = 0.99) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"`dim` must be at least 1, got {dim}.")
        if not num_codes or min(num_codes) < 1:
            raise ValueError(f"`num_codes` must hold positive sizes, got {num_codes}.")
        if not 0 <= decay < 1:
            raise ValueError(f"`decay` must be in [0, 1), got {decay}.")
        self.dim, self.num_codes, self.decay = dim, tuple(num_codes), decay
        self.register_buffer("counts", torch.zeros(sum(num_codes)))

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Quantized:
        """Quantize `x`; differentiable towards `x`."""
        raise NotImplementedError

    def encode(self, x: Float[Tensor, "*batch dim"]) -> Int[Tensor, "*batch stages"]:
        """The indices of `x`, without gradients, in bounded memory."""
        raise NotImplementedError

    def decode(self, indices: Int[Tensor, "*batch stages"]) -> Float[Tensor, "*batch dim"]:
        """The vectors of `indices`; equals `forward(x).values` for `indices = encode(x)`.

        Quantizers with residual stages accept any number of leading stages.
        """
        raise NotImplementedError

    def fit(
        self, x: Float[Tensor, "n dim"], *, weights: Float[Tensor, "n"] | None = None
    ) -> Quantizer:
        """Learn the codes from data, without training.

        Args:
            x: The data.
            weights: Importance of each vector, non-negative; None weighs all alike.
        """
        raise NotImplementedError

    @torch.no_grad()
    def count(self, indices: Int[Tensor, "*batch stages"]) -> None:
        """Move the running statistics towards the indices of one batch."""
        seen = torch.cat(
            [
                torch.bincount(column, minlength=size)
                for column, size in zip(
                    indices.reshape(-1, len(self.num_codes)).T, self.num_codes, strict=True
                )
            ]
        )
        self.counts.lerp_(seen.to(self.counts), 1 - self.decay if self.counts.any() else 1.0)

    @property
    def usage(self) -> Float[Tensor, "stages"]:
        """Share of each stage's codes that were used lately, in [0, 1]."""
        return torch.stack([(c > 0.01).float().mean() for c in self.counts.split(self.num_codes)])

    @property
    def perplexity(self) -> Float[Tensor, "stages"]:
        """exp of the entropy of each stage's code frequencies; at most `num_codes`."""
        shares = [c / c.sum().clamp(min=1e-12) for c in self.counts.split(self.num_codes)]
        return torch.stack([torch.exp(torch.special.entr(share).sum()) for share in shares])


@runtime_checkable
class Transform(Protocol):
    """A change of coordinates of `[n, d]` rows, composed in front of a quantizer or codec."""

    def forward(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Coefficients [n, r] of the rows [n, d]."""
        ...

    def inverse(self, coefficients: NDArray[np.floating]) -> NDArray[np.float32]:
        """Rows [n, d] of coefficients [n, r]; exact up to rounding where r = d."""
        ...

    def to_bytes(self) -> bytes:
        """The transform itself, as a file holds it; its length is side information."""
        ...


@runtime_checkable
class Codec(Protocol):
    """Arrays to bytes and back; a class found through the entry points `fieldwright.codecs`.

    The bytes are complete: shape, type, tables and codebooks are inside, so their length is the
    whole cost. `decode` allocates nothing before it has checked what the bytes claim.
    """

    name: str
    """The codec's name in files."""
    lossless: bool
    """True where decoding gives back identical bits."""

    def encode(self, array: NDArray[Any]) -> bytes:
        """`array` as bytes.

        Raises:
            ValueError: The codec cannot hold this shape, type or range.
        """
        ...

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
        """The array in `data`.

        Args:
            data: What `encode` returned; anything else raises, and never crashes or hangs.
            max_items: Refuse to decode more values than this.

        Raises:
            CodecError: `data` is malformed; the message gives the byte offset.
        """
        ...

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """Differentiable estimate of `8 * len(encode(array))`, in bits."""
        ...


class CodecError(ValueError):
    """Bytes that no encoder wrote: truncated, altered, or claiming absurd sizes.

    Attributes:
        offset: Where in the bytes the fault was met.
    """

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(f"{message} (at byte {offset})")
        self.offset = offset
