"""The codec of vectors: fit a plan to rows, encode them under it, decode them anywhere.

    plan = fit(rows, bits=20)          # or snr=, error= or step=
    data = encode(rows, plan)          # complete: plan, tables and streams
    rows_again = decode(data)          # the same bits on every machine and thread count

A plan is data. It names a center, an optional small vector quantizer, directions (the KLT's own,
or products of one direction per side of the rows' shape, or fixed cosines), one step for all
coefficients, and where their reconstructions lie. Coefficients are rounded by rate and distortion
and coded by mixed contexts, which predict magnitudes and signs from the row and its neighbors, so
rows should come in an order in which neighbors resemble each other (Morton order of positions).
`fit` compares candidates by their real bytes, plan included, and so has no cliff at few rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from .contract import MAX_ITEMS
from .vectors.codec import decode_rows, encode_rows
from .vectors.coefficients import MAX_DIMS
from .vectors.search import Search, Trial, solve
from .vectors.stages import Plan

__all__ = ["Plan", "VectorCodec", "decode", "encode", "fit"]

CODEBOOKS = (256, 1024)
"""Sizes of vector quantizers that `fit` tries as a base."""


def fit(
    x: NDArray[np.floating],
    *,
    bits: float | None = None,
    snr: float | None = None,
    error: float | None = None,
    step: float | None = None,
    weights: NDArray[np.floating] | None = None,
    codebooks: tuple[int, ...] = CODEBOOKS,
    trade: float = 0.1,
) -> Plan:
    """The plan on the lower envelope of rate and distortion, all side information charged.

    Exactly one of `bits`, `snr`, `error` and `step` says where on the envelope.

    Args:
        x: Rows [n, d] or [n, m, k]; a shape such as (15, 3), harmonics by channels, offers cheaper
            bases to arrays of few rows. m k <= 1024.
        bits: Bits per row.
        snr: 10 log10 of the variance of `x` over the mean squared error, dB.
        error: Mean squared error per row, summed over its values.
        step: Width of the quantizer's cells; the error is below step² / 12 per value.
        weights: Importance of each row, [n]: directions and codes are fitted under it.
        codebooks: Sizes of vector quantizers to try; empty for the fast plan.
        trade: Squared steps that the encoder gives for a bit; 0 rounds to the nearest.

    Raises:
        ValueError: No target or several, a wrong shape, or values that are not finite.
    """
    given = {"bits": bits, "snr": snr, "error": error, "step": step}
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) != 1:
        raise ValueError(f"give one of {', '.join(given)}; got {', '.join(chosen) or 'none'}.")
    [(name, value)] = chosen.items()
    if not math.isfinite(value) or (value <= 0 and name != "snr"):
        raise ValueError(f"`{name}` must be positive and finite, got {value}.")
    rows, shape = _rows(x)
    if weights is not None and (np.shape(weights) != (len(rows),) or np.min(weights) < 0):
        raise ValueError(f"`weights` must be [{len(rows)}] and non-negative.")
    search = Search(rows, shape, weights, codebooks=codebooks, trade=trade)
    variance = float(np.trace(search.covariance))
    largest = float(np.abs(search.mean).max())
    if name == "step" or variance <= (1e-5 * largest) ** 2:
        # Rows that are all alike, to rounding, have no envelope: the mean is all there is.
        chosen_step = value if name == "step" else largest / 256 or 1.0
        return search.trial(search.best(chosen_step)(chosen_step)).plan

    def surplus(trial: Trial) -> float:
        if name == "bits":
            return math.log(max(trial.bits, 1e-9) / value)
        wanted = value if name == "error" else variance * 10 ** (-value / 10)
        return math.log(wanted / max(trial.error, 1e-30))

    return solve(search, surplus)


def encode(
    x: NDArray[np.floating], plan: Plan, *, neighbors: NDArray[np.int32] | None = None
) -> bytes:
    """The rows [n, d] or [n, m, k] under a plan, complete.

    Args:
        x: The rows; any rows of the plan's shape, not only those it was fitted to.
        plan: From `fit`.
        neighbors: Earlier rows that resemble each row, [n, 8], nearest first, then -1, counted
            from the beginning of its segment of 2^18 rows; for callers whose decoder knows
            positions. None takes the eight rows before.

    Raises:
        ValueError: The shape differs from the plan's, or a value is not finite or 2^19 steps off.
    """
    rows, shape = _rows(x)
    if shape != plan.shape:
        raise ValueError(f"`x` must be rows of {plan.shape}, got {list(np.shape(x))}.")
    return encode_rows(rows, plan, neighbors=neighbors)


def decode(
    data: bytes, *, neighbors: NDArray[np.int32] | None = None, max_items: int = MAX_ITEMS
) -> NDArray[np.float32]:
    """The rows that `encode` wrote, [n, d] or [n, m, k] as they came.

    Args:
        data: From `encode`; anything else raises.
        neighbors: What `encode` was given.
        max_items: Refuse to decode more values than this.

    Raises:
        CodecError: `data` is malformed.
    """
    return decode_rows(data, neighbors=neighbors, max_items=max_items)


class VectorCodec:
    """`fit` and `encode` as a codec, for files that hold rows of numbers.

    Args:
        snr: Quality, dB, where `step` is None.
        step: Width of the quantizer's cells.
        codebooks: Sizes of vector quantizers to try; empty for the fast plan.
    """

    name = "vectors"
    lossless = False

    def __init__(
        self,
        *,
        snr: float = 30.0,
        step: float | None = None,
        codebooks: tuple[int, ...] = CODEBOOKS,
    ) -> None:
        self.snr, self.step, self.codebooks = snr, step, codebooks

    def encode(self, array: NDArray[Any]) -> bytes:
        """See `Codec`; rows [n, d] or [n, m, k] of floats."""
        return encode(array, self._plan(array))

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
        """See `Codec`."""
        return decode(data, max_items=max_items)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """See `Codec`; each coefficient of the KLT as a Gaussian of its variance and uniform noise.

        The estimate ignores contexts and lies above the coded size, by up to a fifth on real rows.
        """
        rows = array.reshape(len(array), -1)
        centered = rows - rows.mean(0)
        variances = torch.linalg.eigvalsh(centered.T @ centered / len(rows)).clamp(min=0)
        total = variances.sum().detach()
        step = (
            self.step
            if self.step is not None
            else float(12 * total / len(variances)) ** 0.5 * (10 ** (-self.snr / 20))
        )
        return len(rows) * 0.5 * torch.log2(1 + 12 * variances / step**2).sum()

    def _plan(self, array: NDArray[Any]) -> Plan:
        if self.step is not None:
            return fit(array, step=self.step, codebooks=self.codebooks)
        return fit(array, snr=self.snr, codebooks=self.codebooks)


def _rows(x: NDArray[np.floating]) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """[n, m k] float32 and (m, k)."""
    array = np.asarray(x)
    if array.ndim not in (2, 3) or not 1 <= math.prod(array.shape[1:]) <= MAX_DIMS:
        raise ValueError(
            f"`x` must be [n, d] or [n, m, k] with at most {MAX_DIMS} values per row, "
            f"got {list(array.shape)}."
        )
    rows = np.ascontiguousarray(
        array.reshape(len(array), math.prod(array.shape[1:])), dtype=np.float32
    )
    if not np.isfinite(rows).all():
        raise ValueError("`x` must be finite, got NaN or infinity.")
    return rows, (array.shape[1], array.shape[2] if array.ndim == 3 else 1)
