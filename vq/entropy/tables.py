"""Frequency tables in few bytes: the logarithm of a histogram at evenly spaced knots.

A table of T tokens is `levels` at the tokens 0, 2^s, 2 * 2^s, ... (the last knot lies at or behind
token T - 1). A level is a logarithm in steps of 2^-r octaves. Between knots j and j + 1 the
logarithm of token i is, in steps of 1/64 octave and with d = i - j 2^s,

    t_i = ((levels[j] (2^s - d) + levels[j + 1] d) << (6 - r)) >> s        (integers only).

With u_i = max(0, t_i - max t + 64 * 29) its weight is w_i = max(1, (E[u_i & 63] << (u_i >> 6)) >>
16), where E[j] = floor(2^(16 + j / 64)). At s = 0 a level of 0 says that the token never occurs:
w_i = 0. Frequencies add up to 2^p and every token with w_i > 0 gets at least one of them: with
P_i the number of such tokens among the first i, v_i = max(0, w_i - floor(sum(w) / 2^p)), V_i the
sum of the first i of these, and P and V for all tokens,

    f_i = F_{i+1} - F_i,    F_i = P_i + floor(V_i (2^p - P) / V).

p is 10, or as large as 2^p <= 16 n allows for columns of n items, so that what a decoder sets up is
proportional to the array. Small arrays and smooth densities get few knots, large or ragged ones a
knot per token: the encoder takes what makes table and data together shortest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .bits import BitReader, BitWriter, unfold

RESOLUTIONS = (2, 3, 4, 6)
"""Choices of r: steps of a quarter to a 64th octave."""
PRECISIONS = (10, 12, 14, 16)
"""Choices of p."""
MAX_STRIDE = 12
"""Largest s."""
MAX_LEVEL = 64 * 64 * 4
"""Largest level; the encoder needs 64 octaves at most."""
TOP = 29
"""The largest weight has 30 bits, so 2^15 of them times 2^16 stay below 2^63."""
FAINT = 0.25
"""Count given to tokens between knots that never occurred."""


@cache
def _powers() -> NDArray[np.int64]:
    """floor(2^(16 + j / 64)), exactly: the 64th root is six integer square roots."""
    scale = 64
    roots = []
    for j in range(64):
        value = 1 << 64 * (16 + scale) + j
        for _ in range(6):
            value = math.isqrt(value)
        roots.append(value >> scale)
    return np.array(roots, np.int64)


@dataclass(frozen=True)
class FrequencyTable:
    """The table of one column."""

    num_tokens: int
    """Size T of the alphabet."""
    stride: int
    """s: knots are 2^s tokens apart."""
    resolution: int
    """r: levels are steps of 2^-r octaves."""
    precision: int
    """p: the frequencies add up to 2^p."""
    levels: NDArray[np.int64]
    """One level >= 0 per knot."""

    def frequencies(self) -> NDArray[np.uint32]:
        """f `[T]`, by integer arithmetic alone."""
        weights = _weights(self.num_tokens, self.stride, self.resolution, self.levels)
        return _normalized(weights, self.precision)

    def write(self, writer: BitWriter) -> None:
        """Append the table: s (4 bits), index of r (2), index of p (2), Rice order k (3), levels.

        The first level is folded golomb(5); each following one its folded difference to the last
        level above 0 in rice(k). At s = 0 differences are raised by one; 0 then says that the
        level is 0, and golomb(0) follows with how many more zeros there are. T itself comes from
        the alphabet.
        """
        numbers, runs = _differences(self.levels, self.stride == 0)
        order = _rice_order(numbers[1:])
        writer.bits(self.stride, 4)
        writer.bits(RESOLUTIONS.index(self.resolution), 2)
        writer.bits(PRECISIONS.index(self.precision), 2)
        writer.bits(order, 3)
        writer.golomb(int(numbers[0]), 5)
        if self.stride == 0 and numbers[0] == 0:
            writer.golomb(runs.pop(0))
        for number in numbers[1:].tolist():
            writer.rice(number, order)
            if self.stride == 0 and number == 0:
                writer.golomb(runs.pop(0))

    @staticmethod
    def read(reader: BitReader, num_tokens: int, items: int) -> FrequencyTable:
        """The table at the reader's position, of a column of `items` items.

        Raises:
            CodecError: The table is malformed, or fewer than two of its tokens can occur.
        """
        stride = reader.bits(4)
        if stride > MAX_STRIDE:
            raise reader.fail(f"knots {2**stride} tokens apart, at most {2**MAX_STRIDE} allowed")
        resolution, precision = RESOLUTIONS[reader.bits(2)], PRECISIONS[reader.bits(2)]
        if precision not in precisions_for(items):
            raise reader.fail(f"2^{precision} slots for a column of {items} items")
        order = reader.bits(3)
        knots = num_knots(num_tokens, stride)
        sparse = stride == 0
        levels = np.zeros(knots, np.int64)
        last, at = 0, 0
        while at < knots:
            number = reader.golomb(5) if at == 0 else reader.rice(order)
            if sparse and number == 0:
                at += 1 + reader.golomb()
                continue
            last += unfold(number - sparse)
            if not 0 <= last <= MAX_LEVEL or (sparse and last == 0):
                raise reader.fail(f"level {last} of a frequency table, 0 to {MAX_LEVEL} allowed")
            levels[at] = last
            at += 1
        if at > knots:
            raise reader.fail(f"{at} levels in a frequency table of {knots}")
        present = int(np.count_nonzero(levels)) if sparse else num_tokens
        if not 2 <= present < 1 << precision:
            raise reader.fail(
                f"{present} tokens occur; 2 to {(1 << precision) - 1} fit a frequency table"
            )
        return FrequencyTable(num_tokens, stride, resolution, precision, levels)


def precisions_for(items: int) -> tuple[int, ...]:
    """The values of p that a column of this many items may have."""
    return tuple(p for p in PRECISIONS if p == PRECISIONS[0] or 1 << p <= 16 * items)


def num_knots(num_tokens: int, stride: int) -> int:
    """How many knots 2^stride apart cover the tokens."""
    return -(-(num_tokens - 1) >> stride) + 1 if stride else num_tokens


def _weights(
    num_tokens: int, stride: int, resolution: int, levels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """w `[num_tokens]`."""
    if stride:
        at = np.arange(num_tokens)
        knot, distance = at >> stride, at & (1 << stride) - 1
        following = levels[np.minimum(knot + 1, len(levels) - 1)]
        logs = levels[knot] * ((1 << stride) - distance) + following * distance
        logs = (logs << 6 - resolution) >> stride
    else:
        logs = levels << 6 - resolution
    raised = np.maximum(logs - logs.max() + 64 * TOP, 0)
    weights = np.maximum((_powers()[raised & 63] << (raised >> 6)) >> 16, 1)
    return weights if stride else np.where(levels > 0, weights, 0)


def _normalized(weights: NDArray[np.int64], precision: int) -> NDArray[np.uint32]:
    """f `[T]`: at least 1 where the weight is not 0, adding up to 2^precision."""
    excess = np.maximum(weights - (int(weights.sum()) >> precision), 0)
    present = np.concatenate([[0], np.cumsum(weights > 0)])
    sums = np.concatenate([[0], np.cumsum(excess)])
    edges = present + sums * ((1 << precision) - present[-1]) // sums[-1]
    return np.diff(edges).astype(np.uint32)


def _differences(levels: NDArray[np.int64], sparse: bool) -> tuple[NDArray[np.int64], list[int]]:
    """The numbers that `write` codes, and the run behind every zero."""
    kept = np.flatnonzero(levels) if sparse else np.arange(len(levels))
    steps = np.diff(levels[kept], prepend=0)
    folded = np.where(steps >= 0, 2 * steps, -2 * steps - 1) + sparse
    if not sparse or len(kept) == len(levels):
        return folded, []
    gaps = np.diff(kept, prepend=-1, append=len(levels)) - 1
    before = np.concatenate([np.arange(len(kept)), [len(kept)]])[gaps > 0]
    return np.insert(folded, before, 0), (gaps[gaps > 0] - 1).tolist()


def _rice_order(numbers: NDArray[np.int64]) -> int:
    return int(np.argmin([_rice_bits(numbers, k) for k in range(8)]))


def _rice_bits(numbers: NDArray[np.int64], order: int) -> int:
    return int((numbers >> order).sum()) + (1 + order) * len(numbers)


def _table_bits(levels: NDArray[np.int64], sparse: bool) -> float:
    """Length of `write`."""
    numbers, runs = _differences(levels, sparse)
    rest = numbers[1:]
    bits = min(_rice_bits(rest, k) for k in range(8)) + 11 + 2 * np.log2(numbers[0] / 32 + 1) + 6
    return float(bits + sum(2 * (run + 1).bit_length() - 1 for run in runs))


STATE_LOSS = 0.005
"""Bits lost per token at p = 16, where a state holds few multiples of 2^p; halves with each less.
Measured: 0.0023 to 0.0075 for Gaussians of deviation 0.5 to 32."""


def _cost(counts: NDArray[np.int64], frequencies: NDArray[np.uint32], precision: int) -> float:
    """Bits that the counted tokens take."""
    used = counts > 0
    lengths = precision - np.log2(frequencies[used]) + STATE_LOSS * 2.0 ** (precision - 16)
    return float((counts[used] * lengths).sum())


def fit(counts: NDArray[np.int64]) -> tuple[FrequencyTable, float]:
    """The table that codes tokens with these counts in the fewest bits, itself included.

    Args:
        counts: How often each token occurs, `[T]`; at least two tokens occur.

    Returns:
        The table, and the bits of table and tokens together.
    """
    best: tuple[FrequencyTable, float] | None = None
    worse = 0
    for stride in range(MAX_STRIDE + 1):
        if worse == 3 or (stride and (1 << stride) >= 2 * len(counts)):
            break
        table, bits = _fit_stride(counts, stride)
        worse = worse + 1 if best and bits > best[1] else 0
        if best is None or bits < best[1]:
            best = table, bits
    assert best is not None
    return _with_best_precision(counts, *best)


def _fit_stride(counts: NDArray[np.int64], stride: int) -> tuple[FrequencyTable, float]:
    """The best table with knots 2^stride apart, at a precision that is good enough to compare."""
    octaves = np.log2(_smoothed(counts, stride)) + 2
    dense = int(np.count_nonzero(counts)) if stride == 0 else len(counts)
    precision = 16 if dense >= 1 << 12 else 14
    best: tuple[FrequencyTable, float] | None = None
    for resolution in RESOLUTIONS:
        levels = np.rint(octaves * 2**resolution).astype(np.int64) + 1
        if stride == 0:
            levels[counts == 0] = 0
        levels = np.where(levels > 0, levels - levels[levels > 0].min() + 1, 0)
        table = FrequencyTable(len(counts), stride, resolution, precision, levels)
        bits = _table_bits(levels, stride == 0) + _cost(counts, table.frequencies(), precision)
        if best is not None and bits >= best[1]:
            break
        best = table, bits
    assert best is not None
    return best


def _with_best_precision(
    counts: NDArray[np.int64], table: FrequencyTable, bits: float
) -> tuple[FrequencyTable, float]:
    """The same levels at the precision that makes the tokens shortest."""
    weights = _weights(table.num_tokens, table.stride, table.resolution, table.levels)
    present = int(np.count_nonzero(weights))
    allowed = [p for p in precisions_for(int(counts.sum())) if present < 1 << p]
    costs = {p: _cost(counts, _normalized(weights, p), p) for p in allowed}
    precision = min(costs, key=lambda p: costs[p])
    side = bits - _cost(counts, table.frequencies(), table.precision)
    chosen = FrequencyTable(
        table.num_tokens, table.stride, table.resolution, precision, table.levels
    )
    return chosen, side + costs[precision]


def _smoothed(counts: NDArray[np.int64], stride: int) -> NDArray[np.float64]:
    """Counts at the knots: averages under triangles that reach to the neighboring knots."""
    if stride == 0:
        return np.maximum(counts, FAINT).astype(np.float64)
    step = 1 << stride
    knots = num_knots(len(counts), stride)
    padded = np.zeros(knots * step)
    padded[: len(counts)] = counts
    inside = np.zeros_like(padded)
    inside[: len(counts)] = 1
    rising = np.arange(step) / step
    total, weight = np.zeros(knots), np.zeros(knots)
    for values, sums in ((padded, total), (inside, weight)):
        cells = values.reshape(-1, step)
        sums[:] = cells[:knots] @ (1 - rising)
        sums[1:] += cells[: knots - 1] @ rising
    return np.maximum(total / np.maximum(weight, 1e-9), FAINT)
