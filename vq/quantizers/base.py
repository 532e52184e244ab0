"""The part every quantizer shares: checks, float32 whatever the input, and leading dimensions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contract import Quantized, Quantizer
from .code_lengths import ideal_bits


class RowQuantizer(Quantizer):
    """A quantizer whose rules are written for float32 rows `[n, dim]`.

    A subclass writes `_quantize`, `_encode`, `_decode` and `_fit`. Its callers find checked
    arguments, any leading dimensions, n = 0 included, and autocast switched off: half precision
    loses codes silently.
    """

    prefix_decodable = False
    """True where `decode` takes any number of leading columns of the indices."""
    steps: Tensor
    """Training batches seen, int64; it seeds the randomness of the next one."""

    def __init__(
        self, dim: int, num_codes: tuple[int, ...], *, decay: float = 0.99, seed: int = 0
    ) -> None:
        super().__init__(dim, num_codes, decay=decay)
        self.seed = seed
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Quantized:
        """Quantize `x`; differentiable towards `x`. In training mode the statistics follow."""
        rows = self._checked(x)
        with torch.autocast(x.device.type, enabled=False):
            made = self._quantize(rows)
        if self.training and len(rows):
            self.steps += 1
        return Quantized(
            values=made.values.reshape(x.shape).to(x.dtype),
            indices=made.indices.reshape(*x.shape[:-1], made.indices.shape[-1]),
            loss=made.loss,
            bits=made.bits,
        )

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "*batch dim"]) -> Int[Tensor, "*batch stages"]:
        """The indices of `x`, without gradients, in bounded memory.

        Raises:
            ValueError: `x` has another length than `dim`, or is not finite.
        """
        rows = self._checked(x)
        with torch.autocast(x.device.type, enabled=False):
            indices = self._encode(rows)
        return indices.reshape(*x.shape[:-1], len(self.num_codes))

    def decode(self, indices: Int[Tensor, "*batch stages"]) -> Float[Tensor, "*batch dim"]:
        """The float32 vectors of `indices`; differentiable towards the codes where they are
        parameters.

        Raises:
            ValueError: The columns do not fit this quantizer, or an index is out of range.
        """
        columns = indices.shape[-1]
        if columns != len(self.num_codes) and not (
            self.prefix_decodable and columns < len(self.num_codes)
        ):
            allowed = "at most " if self.prefix_decodable else ""
            raise ValueError(
                f"`indices` must be [..., {allowed}{len(self.num_codes)}], "
                f"got {list(indices.shape)}."
            )
        rows = indices.reshape(indices.shape[:-1].numel(), columns)
        sizes = torch.tensor(self.num_codes[:columns], device=rows.device)
        if ((rows < 0) | (rows >= sizes)).any():
            raise ValueError(
                f"`indices` must lie below {sizes.tolist()} column by column and not below 0, "
                f"got {int(rows.min())} to {int(rows.max())}."
            )
        with torch.autocast(indices.device.type, enabled=False):
            values = self._decode(rows.long())
        return values.reshape(*indices.shape[:-1], self.dim)

    @torch.no_grad()
    def fit(
        self, x: Float[Tensor, "n dim"], *, weights: Float[Tensor, "n"] | None = None
    ) -> RowQuantizer:
        """Learn the codes and their statistics from data, without training.

        Args:
            x: The data, at least one vector.
            weights: Importance of each vector, non-negative; None weighs all alike.

        Raises:
            ValueError: `x` is empty or not finite, or `weights` does not fit it.
        """
        rows = self._checked(x)
        if x.ndim != 2 or len(x) == 0:
            raise ValueError(f"`x` must be [n >= 1, {self.dim}], got {list(x.shape)}.")
        if weights is None:
            weights = rows.new_ones(len(rows))
        if weights.shape != rows.shape[:1] or not (weights >= 0).all() or not weights.any():
            raise ValueError(
                f"`weights` must be [{len(rows)}], non-negative and not all 0, "
                f"got {list(weights.shape)}."
            )
        with torch.autocast(x.device.type, enabled=False):
            self._fit(rows, weights.float())
            self._recount(rows)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RowQuantizer:
        """Move between devices, but stay float32 when a model becomes half or double."""

        def moved(tensor: Tensor) -> Tensor:
            made = fn(tensor)
            return made if made.dtype == tensor.dtype else tensor.to(made.device)

        super()._apply(moved, recurse)
        return self

    @abstractmethod
    def _quantize(self, x: Float[Tensor, "n dim"]) -> Quantized:
        """`forward` on checked float32 rows."""

    @abstractmethod
    def _encode(self, x: Float[Tensor, "n dim"]) -> Int[Tensor, "n stages"]:
        """`encode` on checked float32 rows."""

    @abstractmethod
    def _decode(self, indices: Int[Tensor, "n stages"]) -> Float[Tensor, "n dim"]:
        """`decode` of checked rows of int64 indices."""

    @abstractmethod
    def _fit(self, x: Float[Tensor, "n dim"], weights: Float[Tensor, "n"]) -> None:
        """`fit` on checked float32 rows; the statistics are renewed afterwards."""

    def _recount(self, x: Float[Tensor, "n dim"]) -> None:
        """Start the statistics again from how often `x` uses each code."""
        self.counts.zero_()
        self.count(self._encode(x))

    def _counted_bits(self, indices: Int[Tensor, "n stages"]) -> Float[Tensor, ""]:
        """Ideal bits of `indices` under `counts`, which training moves towards them first."""
        if self.training and len(indices):
            self.count(indices)
        return ideal_bits(indices, self.counts, self.num_codes)

    def _generator(self, device: torch.device) -> torch.Generator:
        """Randomness of this batch alone, so that a resumed training repeats bit for bit."""
        state = (self.seed * 0x9E3779B97F4A7C15 + int(self.steps)) % (1 << 63)
        return torch.Generator(device).manual_seed(state)

    def _checked(self, x: Tensor) -> Float[Tensor, "n dim"]:
        """`x` as finite float32 rows."""
        if x.ndim == 0 or x.shape[-1] != self.dim:
            raise ValueError(f"`x` must be [..., {self.dim}], got {list(x.shape)}.")
        if not (finite := torch.isfinite(x)).all():
            raise ValueError(
                f"`x` must be finite, but {int((~finite).sum())} of its {x.numel()} values are NaN "
                "or infinite; look for a diverged or overflowing layer in front of the quantizer."
            )
        return x.reshape(x.shape[:-1].numel(), self.dim).float()


def mean_square(a: Float[Tensor, "n dim"], b: Float[Tensor, "n dim"]) -> Float[Tensor, ""]:
    """Mean over all values of (a - b)^2; 0 where there are none."""
    return (a - b).square().sum() / max(1, a.numel())
