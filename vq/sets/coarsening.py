"""How finely a value is coded, decided by what is known of its point before.

A column with a `Coarsening` holds multiples of 2^k, where k is a function of other columns at the
same point and, if it likes, of the upper bits of the value itself. Nothing is spent on the k lower
bits, and nothing on k: so values get precision where it counts, at no cost beside a few numbers in
the header. All arithmetic is on integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

FRACTION_BITS = 16
"""k is the floor of a sum in units of 2^-16."""
MAX_COARSENESS = 16
"""Lower bits that a column may leave out."""
MAX_FACTORS = 8
"""Factors of one coarsening, in all."""
MAX_FACTOR = (1 << 24) - 1
"""Magnitude of a factor."""
MAX_BOUND = (1 << 40) - 1
"""Magnitude of a constant and of the bounds of a term."""


@dataclass(frozen=True)
class Term:
    """A weighted sum of columns within bounds."""

    factors: tuple[tuple[str, int], ...]
    """(name of a column, factor), in units of 2^-16 per step of the column."""
    low: int = -MAX_BOUND
    """Least value of the term."""
    high: int = MAX_BOUND
    """Largest value of the term."""


@dataclass(frozen=True)
class Coarsening:
    """The rule k = clip(floor(constant + own * upper + sum of terms), 0, most)."""

    most: int
    """Largest k."""
    constant: int
    """In units of 2^-16, like everything that is added to it."""
    own: int = 0
    """Factor of the value itself without its `most` lower bits."""
    terms: tuple[Term, ...] = ()
    """What other columns say."""

    @property
    def parents(self) -> set[str]:
        """Columns that have to be known before."""
        return {name for term in self.terms for name, _ in term.factors}

    def base(self, columns: Mapping[str, Any]) -> Any:
        """Everything but the value's own part: int64 per point, or one number where no column
        counts. `columns` are int64 arrays of numpy or tensors of torch, which stay what they are.
        """
        total: Any = self.constant
        for term in self.terms:
            found: Any = sum(factor * columns[name] for name, factor in term.factors)
            total = total + found.clip(term.low, term.high)
        return total

    def coarseness(self, base: Any, values: Any) -> Any:
        """k of each of the int64 `values`, from its `base`; the `most` lower bits do not count."""
        upper = values >> self.most << self.most
        return ((base + self.own * upper) >> FRACTION_BITS).clip(0, self.most)


@dataclass(frozen=True)
class Coarseness:
    """A coarsening at the points of a set, as coders of one column need it."""

    rule: Coarsening
    """What decides."""
    base: Int64[np.ndarray, "n"]
    """See `Coarsening.base`; with the part of the coded column's minimum."""

    def at(self, i: int, value: int) -> int:
        """k of point i, whose value is `value` but for the lower bits."""
        return int(self.rule.coarseness(self.base[i], np.int64(value)))

    def each(self, values: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
        """k of every point, likewise."""
        return self.rule.coarseness(self.base, values)


def check(coarsening: Coarsening) -> None:
    """Raises ValueError unless all sums of 32-bit columns fit into 62 bits."""
    factors = [factor for term in coarsening.terms for _, factor in term.factors]
    bounds = [bound for term in coarsening.terms for bound in (term.low, term.high)]
    if not 1 <= coarsening.most <= MAX_COARSENESS:
        raise ValueError(f"`most` must lie in [1, {MAX_COARSENESS}], got {coarsening.most}.")
    if len(factors) > MAX_FACTORS or any(not term.factors for term in coarsening.terms):
        raise ValueError(f"`terms` must have 1 to {MAX_FACTORS} factors in all, got {factors}.")
    if any(abs(factor) > MAX_FACTOR for factor in (coarsening.own, *factors)):
        raise ValueError(f"factors must lie within {MAX_FACTOR}, got {factors}.")
    if any(abs(bound) > MAX_BOUND for bound in (coarsening.constant, *bounds)):
        raise ValueError(f"bounds must lie within {MAX_BOUND}, got {bounds}.")
    if any(term.low > term.high for term in coarsening.terms):
        raise ValueError("a term's `low` must be at most its `high`.")
