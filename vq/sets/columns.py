"""One integer column of a set of points as bytes, given positions and earlier columns.

What is known about value i before it is coded (`Surroundings`): the values of the 12 nearest
earlier points, its parents (columns coded before) there and at the point itself. From that come
five guesses: a linear prediction with transmitted weights, the mean of the neighbors, the mean of
the four whose parents are most like the point's own, the nearest, and the most alike. Each guess
is a logistic distribution whose width is the guess's average error so far in like situations. The
value is coded bit by bit, highest first; every guess gives the logit of the bit, six contexts
(`_set_contexts`) give adaptive counters, and `mixing` blends them. Where a `coarsening` says that
the k lower bits of a value are zero, they are not coded, guesses are shares of steps of 2^k, k is a
context, and bit b of a value has mixer number b - k; while the upper bits that k depends on are
unknown, k is that of the linear prediction and edges lie half a finest step below. All arithmetic
is on integers; divisions of sums are between non-negative numbers. Twin of the kernel in
csrc/context_columns.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int16, Int32, Int64, UInt32

from .coarsening import Coarseness
from .mixing import (
    LOGIT_MAX,
    BinaryDecoder,
    BinaryEncoder,
    BitCoder,
    ContextModel,
    clamp_logit,
    tables,
)

try:
    from vq import _native
except ImportError:
    _native = None

NEAR = 12
"""Nearest earlier points that predict a value."""
MAX_BITS = 24
"""Bits of a value."""
MAX_PARENTS = 16
"""Columns that may predict one column."""
WEIGHT_ONE = 1 << 12
"""Unit of the weights of the linear prediction."""

_UNIT = 16  # predictions are in 1/16
_RANKED, _ALIKE, _GUESSES = 6, 4, 5
_MEAN, _NEAREST, _FIRST_ALIKE, _ALIKE_MEAN = 1, 2, 8, 12
_FIT_ROWS = 1 << 15


@dataclass(frozen=True)
class ColumnContext:
    """What encoder and decoder both know before a column."""

    neighbors: Int32[np.ndarray, "n 12"]
    """`earlier_neighbors` of the points."""
    parents: list[UInt32[np.ndarray, "n"]]
    """Columns coded before, the most telling last."""
    bits: int
    """Values lie in [0, 2^bits), 1 <= bits <= 24."""
    coarseness: Coarseness | None = None
    """How many lower bits of each value are zero; None where none are."""

    @property
    def num_features(self) -> int:
        """Inputs of the linear prediction."""
        return num_features(len(self.parents))


def num_features(num_parents: int) -> int:
    """Inputs of the linear prediction with so many parents."""
    return _ALIKE_MEAN + 1 + 2 * num_parents


def fit_weights(context: ColumnContext, values: UInt32[np.ndarray, "n"]) -> Int16[np.ndarray, "f"]:
    """Weights of the linear prediction in units of 2^-12: least squares over a sample of points."""
    stride = -(-len(values) // _FIT_ROWS)
    inputs = _features(context, values, stride).astype(np.float64)
    targets = _UNIT * values[::stride].astype(np.float64)
    moments = inputs.T @ inputs
    moments += np.diag(1e-6 * np.diag(moments) + 1e-3)
    weights = np.linalg.solve(moments, inputs.T @ targets)
    return np.clip(np.rint(WEIGHT_ONE * weights), -(1 << 15), (1 << 15) - 1).astype(np.int16)


def encode_column(
    context: ColumnContext, weights: Int16[np.ndarray, "f"], values: UInt32[np.ndarray, "n"]
) -> bytes:
    """`values` as bytes; the weights have to be sent as well."""
    if _native is not None:
        return _native.encode_column(
            context.neighbors,
            context.parents,
            weights,
            context.bits,
            *_coarseness(context),
            np.ascontiguousarray(values),
        )
    coder = BinaryEncoder()
    model = _ColumnModel(context, weights, coder)
    known = values.tolist()
    for i, value in enumerate(known):
        model.code(i, known, value)
    return coder.finish()


def decode_column(
    data: bytes, context: ColumnContext, weights: Int16[np.ndarray, "f"]
) -> UInt32[np.ndarray, "n"] | None:
    """The values; None if no encoder wrote `data`."""
    count = len(context.neighbors)
    if _native is not None:
        values = np.empty(count, dtype=np.uint32)
        found = _native.decode_column(
            data,
            context.neighbors,
            context.parents,
            weights,
            context.bits,
            *_coarseness(context),
            values,
        )
        return values if found else None
    coder = BinaryDecoder(data)
    model = _ColumnModel(context, weights, coder)
    known: list[int] = []
    for i in range(count):
        known.append(model.code(i, known, 0))
        if coder.truncated:
            return None
    return np.array(known, dtype=np.uint32) if coder.finished else None


def _coarseness(context: ColumnContext) -> tuple[Int64[np.ndarray, "n"], int, int]:
    """As the kernels take it."""
    found = context.coarseness
    if found is None:
        return np.empty(0, np.int64), 0, 0
    return found.base, found.rule.own, found.rule.most


def _features(
    context: ColumnContext, values: UInt32[np.ndarray, "n"], stride: int
) -> Int32[np.ndarray, "rows f"]:
    rows = range(0, len(values), stride)
    features = np.empty((len(rows), context.num_features), dtype=np.int32)
    if _native is not None:
        _native.column_features(
            context.neighbors, context.parents, np.ascontiguousarray(values), stride, features
        )
        return features
    known, view = values.tolist(), _View(context)
    for row, i in enumerate(rows):
        features[row] = view.surroundings(i, known).features
    return features


@dataclass(frozen=True)
class Surroundings:
    """What the decoded surroundings say about one value, in 1/16 of its unit."""

    features: list[int]
    """16; mean; 6 nearest; 4 most alike; their mean; per parent its value here and its mean."""
    spread: int
    """Mean absolute deviation of the neighbors."""
    alike_spread: int
    """Mean absolute deviation of the four most alike."""


class _View:
    """The context as lists, which plain Python reads faster."""

    def __init__(self, context: ColumnContext) -> None:
        self.parents = [parent.tolist() for parent in context.parents]
        self._neighbors = context.neighbors.tolist()

    def surroundings(self, i: int, known: Sequence[int]) -> Surroundings:
        """Around point i, whose earlier points have the values `known`."""
        around = [j for j in self._neighbors[i] if j >= 0]
        own = [_UNIT * parent[i] for parent in self.parents]
        if not around:
            features = [_UNIT] + [0] * (_RANKED + _ALIKE + 2)
            return Surroundings(features + [x for value in own for x in (value, 0)], 0, 0)
        values = [_UNIT * known[j] for j in around]
        mean = sum(values) // len(values)
        spread = sum(abs(value - mean) for value in values) // len(values)
        ranked = (values + [mean] * _RANKED)[:_RANKED]
        distances = [sum(abs(p[i] - p[j]) for p in self.parents) for j in around]
        order = sorted(range(len(around)), key=lambda r: (distances[r], r))
        alike = ([values[r] for r in order] + [mean] * _ALIKE)[:_ALIKE]
        alike_mean = sum(alike) // _ALIKE
        alike_spread = sum(abs(value - alike_mean) for value in alike) // _ALIKE
        features = [_UNIT, mean, *ranked, *alike, alike_mean]
        for value, parent in zip(own, self.parents, strict=True):
            features += [value, sum(_UNIT * parent[j] for j in around) // len(around)]
        return Surroundings(features, spread, alike_spread)


@dataclass
class _Errors:
    """Average absolute error of one guess, in 1/256, in each of 32 situations."""

    mean: list[int]
    seen: list[int] = field(default_factory=lambda: [0] * 32)

    def update(self, situation: int, error: int) -> None:
        change, n = error - self.mean[situation], self.seen[situation] + 2
        self.mean[situation] += change // n if change >= 0 else -(-change // n)
        self.seen[situation] = min(self.seen[situation] + 1, 400)


class _ColumnModel:
    """Codes the values one by one."""

    def __init__(
        self, context: ColumnContext, weights: Int16[np.ndarray, "f"], coder: BitCoder
    ) -> None:
        self._bits, self._weights = context.bits, weights.tolist()
        self._coarseness = context.coarseness
        self._view = _View(context)
        self._model = ContextModel(coder, 6, _GUESSES, context.bits, len(context.neighbors))
        self._errors = [_Errors([32 << context.bits] * 32) for _ in range(3 * _GUESSES)]

    def code(self, i: int, known: Sequence[int], value: int) -> int:
        """Code the value of point i; `known` holds those of the points before."""
        around = self._view.surroundings(i, known)
        centers = self._centers(around.features)
        k = self._k(i, centers[0] // _UNIT)
        situations = (
            _log_bucket(around.spread),
            _log_bucket(around.alike_spread),
            _log_bucket(abs(centers[0] - centers[2])),
        )
        slopes = []
        for g in range(_GUESSES):
            error = sum(self._errors[3 * g + s].mean[situations[s]] for s in range(3))
            slopes.append(355 * 16 * 65536 // (error // 3 + (32 << k)))
        self._set_contexts(i, around.features, centers[0], k)
        value = self._code_bits(i, value, centers, slopes, k)
        for g, center in enumerate(centers):
            for s, situation in enumerate(situations):
                self._errors[3 * g + s].update(situation, 16 * abs(_UNIT * value - center))
        return value

    def _centers(self, features: list[int]) -> list[int]:
        """The guesses in 1/16."""
        linear = sum(w * f for w, f in zip(self._weights, features, strict=True)) >> 12
        linear = max(0, min(linear, (_UNIT << self._bits) - _UNIT))
        return [linear, *(features[k] for k in (_MEAN, _ALIKE_MEAN, _NEAREST, _FIRST_ALIKE))]

    def _k(self, i: int, upper: int) -> int:
        """How many lower bits of value i are zero, if its others are those of `upper`."""
        return 0 if self._coarseness is None else self._coarseness.at(i, upper)

    def _set_contexts(self, i: int, features: list[int], linear: int, k: int) -> None:
        drop = 4 + max(0, self._bits - 8)
        first, second = (features[_FIRST_ALIKE + a] >> drop + 1 for a in range(2))
        parents = [0, 0, *(parent[i] for parent in self._view.parents[-2:])]
        contexts = (
            k,
            linear >> drop,
            features[_NEAREST] >> drop,
            parents[-1],
            first << 10 | second,
            (parents[-1] >> 5 << 12) | parents[-2] >> 5,
        )
        self._model.set_contexts(contexts)

    def _code_bits(self, i: int, value: int, centers: list[int], slopes: list[int], k: int) -> int:
        cdf, logit = tables().cdf, tables().logit
        rule = self._coarseness.rule if self._coarseness else None
        most, own = (rule.most, rule.own) if rule else (0, 0)
        half = (_UNIT if own else _UNIT << k) // 2  # the finest while k is unknown

        def cumulative(g: int, edge: int) -> int:
            """Share of guess g below `edge` by half a step, in 2^-28."""
            x = (_UNIT * edge - half - centers[g]) * slopes[g] >> 16
            return cdf[clamp_logit(x) + LOGIT_MAX]

        lows = [cumulative(g, 0) for g in range(_GUESSES)]
        highs = [cumulative(g, 1 << self._bits) for g in range(_GUESSES)]
        low = 0
        for b in range(self._bits - 1, -1, -1):
            if b < most:
                k = self._k(i, low)
                half = (_UNIT << k) // 2
            if b < k:
                break
            middle = low + (1 << b)
            cuts = [cumulative(g, middle) for g in range(_GUESSES)]
            given = []
            for below, cut, above in zip(lows, cuts, highs, strict=True):
                upper, lower = above - cut + 1, cut - below + 1
                given.append(logit[upper * 4096 // (upper + lower)])
            bit = self._model.decide(value >> b & 1, max(0, b - k), given)
            lows, highs = (cuts, highs) if bit else (lows, cuts)
            low = middle if bit else low
        return low


def _log_bucket(x: int) -> int:
    """0, 1, then two per octave, at most 31."""
    if x < 2:
        return x
    exponent = x.bit_length() - 1
    return min(31, 2 * exponent + (x >> exponent - 1 & 1))
