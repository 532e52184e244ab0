"""How many bits integers will take: the entropy, and a differentiable estimate of the coded size.

The estimate fits the very tables that `rans.encode` would write to the rounded values, so its value
is the size of the file but for the few bytes at the ends of blocks. Its gradient is the slope of
the code length: the table minimises the total, so to first order the change of the table with the
values adds nothing (envelope theorem), and what is left is d(-log2 p(x)) / dx: central differences
of the lengths of neighboring tokens, interpolated linearly in between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from .bits import write_varint
from .body import ColumnModel, write_models
from .lanes import layout
from .tables import STATE_LOSS
from .tokens import MAX_MAGNITUDE, Alphabet

COUNT_BYTES = 2
"""The number of words of a block, at 128 to 16383 of them."""
STATE_BITS = 24
"""Of a state's 32 bits, what it does not use to hold tokens: 32 + 16 - log2(state) on average."""
ABSENT_BITS = 24.0
"""Code length taken for values that the table does not hold, where a slope needs one."""


def order0_bits(symbols: NDArray[Any]) -> float:
    """Entropy of the symbols' own frequencies, times their number: what no static coder beats.

    Tables are not included.
    """
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / max(1, counts.sum()))).sum())


def rate(x: Float[Tensor, "*shape"], *, columns: bool = False) -> Float[Tensor, ""]:
    """Estimate of `8 * len(rans.encode(round(x)))`, in bits, differentiable in `x`.

    Args:
        x: Values in units of the quantization step, finite and within 2^60.
        columns: Whether each column of an `[n, d]` array has a table of its own.

    Raises:
        ValueError: `x` is not finite, too large, or has no columns.

    Add uniform noise or a straight-through rounding to what the rest of a loss sees; the rate needs
    neither.
    """
    values = x.detach().double().cpu().numpy()
    if not np.isfinite(values).all() or np.abs(values).max(initial=0) > MAX_MAGNITUDE:
        raise ValueError("`x` must be finite and within 2^60.")
    if columns and x.ndim != 2:
        raise ValueError(f"`x` must be [n, d] for columns, got {list(x.shape)}.")
    bits = 8.0 * (3 + sum(len(write_varint(length)) for length in x.shape))
    if values.size == 0:
        return x.new_tensor(bits, dtype=torch.float32)
    rows = values.T if columns else values.reshape(1, -1)
    slopes = np.zeros(rows.shape)
    models, coded = [], 0
    for row, slope in zip(rows, slopes, strict=True):
        model = ColumnModel.of(np.rint(row).astype(np.int64))
        models.append(model)
        if model.table is None:
            continue
        coded += len(row)
        lengths = _token_lengths(model)
        bits += float(model.counts @ np.where(model.counts > 0, lengths, 0))
        slope[:] = _slopes(row, model.alphabet, lengths)
    bits += 8.0 * len(write_models(models))
    if coded:
        bounds, lanes = layout(coded)
        bits += (len(bounds) - 1) * (lanes * STATE_BITS + 8 * COUNT_BYTES)
    gradient = torch.from_numpy(slopes.T.copy() if columns else slopes.reshape(x.shape)).to(x)
    # The value is `bits`, the gradient the slopes.
    return bits + (gradient * (x - x.detach())).sum().float()


def _token_lengths(model: ColumnModel) -> NDArray[np.float64]:
    """Bits of each token, raw bits included; infinite for tokens that cannot occur."""
    assert model.table is not None
    frequencies = model.table.frequencies()
    loss = STATE_LOSS * 2.0 ** (model.table.precision - 16)
    with np.errstate(divide="ignore"):
        return model.table.precision - np.log2(frequencies) + loss + model.alphabet.raw_bits


def _slopes(
    row: NDArray[np.float64], alphabet: Alphabet, lengths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """d bits / d x of each value."""
    limited = np.minimum(lengths, ABSENT_BITS + alphabet.raw_bits)
    middles = _middles(alphabet)
    return np.interp(row, middles, np.gradient(limited, middles))


def _middles(alphabet: Alphabet) -> NDArray[np.float64]:
    """The middle of the values of each token, ascending."""
    ends = [_distances(np.arange(count + 1)) for count in (alphabet.below, alphabet.above)]
    below, above = [(edges[:-1] + edges[1:] - 1) / 2 for edges in ends]
    last = alphabet.low + alphabet.size - 1
    inside = np.arange(alphabet.low, last + 1, dtype=np.float64)
    return np.concatenate([alphabet.low - 1 - below[::-1], inside, last + 1 + above])


def _distances(kinds: NDArray[np.int64]) -> NDArray[np.float64]:
    """The first distance of each class (see `tokens`)."""
    return (kinds % 4 + 4) * 2.0 ** (kinds // 4) - 4
