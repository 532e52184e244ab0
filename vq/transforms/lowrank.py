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

    Truncation loses the variances that are left out. A quantizer that spends `rate` bits on the r
    kept directions, as if all were alike within, loses r (prod λ_j)^(1/r) 2^(-2 rate / r) or more
    (the Gaussian bound); it never loses more than they hold.

    Args:
        variances: λ, [d], descending.
        rate: Bits per row, positive.
    """
    values = np.maximum(np.asarray(variances, dtype=np.float64), 1e-300)
    if rate <= 0:
        raise ValueError(f"`rate` must be positive, got {rate}.")
    ranks = np.arange(1, len(values) + 1)
    kept = np.cumsum(values)
    coded = ranks * np.exp(np.cumsum(np.log(values)) / ranks) * 2.0 ** (-2 * rate / ranks)
    return values.sum() - kept + np.minimum(coded, kept)
