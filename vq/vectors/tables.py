"""Lookup tables of the context coder, from exact decimal arithmetic: the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

LOGIT_ONE = 256
"""Logits are integers that carry 8 fractional bits."""
LOGIT_LIMIT = 2047
PROBABILITY_ONE = 1 << 16
PROBABILITY_MIN = 32
"""Coded probabilities stay in [32, 65536 - 32] of 65536: a sure thing costs 0.0007 bits."""
COST_ONE = 1 << 12
"""Costs are in bits / 4096."""
COUNT_LIMIT = 255
"""A probability never adapts slower than by 1 / 256.5 of the error."""


@dataclass(frozen=True)
class Tables:
    """What turns probabilities into logits, back, into costs, and how fast they adapt."""

    logits: NDArray[np.int32]
    """ln(p / (1 - p)) * 256 by the top 12 bits of p, [4096]."""
    probabilities: NDArray[np.int32]
    """65536 / (1 + exp(-logit / 256)) by logit + 2048, [4096]."""
    costs: NDArray[np.int32]
    """-log2(p) * 4096 by the top 12 bits of p, [4096]."""
    rates: NDArray[np.int32]
    """65536 / (count + 1.5) by count, [1024]."""

    def arrays(self) -> list[NDArray[np.int32]]:
        """The tables in the order the kernels take them."""
        return [self.logits, self.probabilities, self.costs, self.rates]


@cache
def tables() -> Tables:
    """The tables, made once per process."""
    with localcontext() as context:
        context.prec = 30
        middle = [(Decimal(2 * p + 1) / 8192) for p in range(4096)]
        logits = [_whole(LOGIT_ONE * (p / (1 - p)).ln()) for p in middle]
        squashed = [
            _whole(PROBABILITY_ONE / (1 + (Decimal(2048 - x) / LOGIT_ONE).exp()))
            for x in range(4096)
        ]
        log_two = Decimal(2).ln()
        costs = [_whole(-COST_ONE * p.ln() / log_two) for p in middle]
    return Tables(
        logits=np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT).astype(np.int32),
        probabilities=np.clip(squashed, PROBABILITY_MIN, PROBABILITY_ONE - PROBABILITY_MIN).astype(
            np.int32
        ),
        costs=np.array(costs, dtype=np.int32),
        rates=np.array([2 * PROBABILITY_ONE // (2 * n + 3) for n in range(1024)], dtype=np.int32),
    )


def _whole(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_HALF_EVEN))
