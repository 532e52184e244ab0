"""How many directions are worth their bits: low rank in front of a fixed-rate quantizer.

"Low-rank then vector quantization" (LR²VQ, arXiv 2211.11397): what truncation loses falls with the
rank, what quantization loses at a given rate grows with it; the estimate of both picks the rank
before anything is trained.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .klt import fit_klt
from .linear import LinearTransform


def fit_low_rank(x: NDArray[np.floating], *, rate: float, bits: int = 14) -> LinearTransform:
    """The KLT of `x [n, d]`, cut where `expected_distortions` is least at `rate` bits per row."""
    klt = fit_klt(x, bits=bits)
    variances = klt.forward(x).var(0, dtype=np.float64)
    return klt.truncated(int(np.argmin(expected_distortions(variances, rate))) + 1)


def expected_distortions(variances: NDArray[np.floating], rate: float) -> NDArray[np.float64]:
    """Squared error per row for each number of directions kept, [d]; entry r - 1 keeps r.

    Truncation loses the variances that are left out. A quantizer that spreads `rate` bits evenly
    over the r kept directions loses their share 2^(-2 rate / r) of what they hold (the Gaussian
    bound at rate / r bits each).

    Args:
        variances: λ, [d], descending.
        rate: Bits per row, positive.
    """
    values = np.maximum(np.asarray(variances, dtype=np.float64), 1e-300)
    if rate <= 0:
        raise ValueError(f"`rate` must be positive, got {rate}.")
    ranks = np.arange(1, len(values) + 1)
    kept = np.cumsum(values)
    return values.sum() - kept + kept * 2.0 ** (-2 * rate / ranks)
