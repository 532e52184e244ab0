"""Which edges are noisy measurements and which are outliers, from their residuals alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_ROTATION_VOLUME = 8 * np.pi**2  # of SO(3) where small turns have the volume of their vectors
_MEDIAN_LENGTH = 1.5382  # of a vector of three standard normal numbers
_LEAST_NOISE = 1e-7  # radians
_SPREADS = np.array([1.0, 3.0])  # deviations of firm and of loose edges, in that of the firm


@dataclass(frozen=True)
class NoiseMixture:
    """Gaussian noise on a share of the edges, uniformly random rotations on the others.

    Real measurements are not all equally good: a part of the good ones has three times the noise.
    Where no edge is like that, that part comes out empty.
    """

    noise: float
    """Standard deviation per axis of good edges of weight 1, radians; 0 without redundancy."""
    inlier_share: float
    """Estimated share of good edges."""
    confidence: Float[np.ndarray, "E"]
    """Probability of each edge to be good."""
    precision: Float[np.ndarray, "E"]
    """Expected inverse variance of each edge over that of a good one of its weight, 0 to 1."""


def fit_mixture(
    residuals: Float[np.ndarray, "E"],
    weights: Float[np.ndarray, "E"],
    unknowns: int,
    *,
    least_noise: float = 0.0,
) -> NoiseMixture:
    """Expectation maximization over residual angles; begun at their median.

    Args:
        residuals: Angles in radians.
        weights: Inverse variances of the edges up to a factor.
        unknowns: Rotations that were fitted. The variance is divided by the edges that are left
            after them, as a fit lowers its own residuals.
        least_noise: What the noise cannot be below, radians. Few edges do not show it: of three in
            one triangle a median leaves two without residual.
    """
    lengths = residuals * np.sqrt(weights)
    redundancy = len(lengths) - unknowns
    least_noise = max(least_noise, _LEAST_NOISE)
    if redundancy <= 0:
        return NoiseMixture(0.0, 1.0, np.ones(len(lengths)), np.ones(len(lengths)))
    noise = max(float(np.median(lengths)) / _MEDIAN_LENGTH, least_noise)
    shares = np.array([0.65, 0.1, 0.25])  # firm, loose, wild
    parts = np.ones((len(lengths), 3))
    for _ in range(100):
        deviations = noise * _SPREADS
        log_parts = np.log(shares) + np.stack(
            [
                *(-3 * np.log(deviations)[:, None] - lengths**2 / 2 / deviations[:, None] ** 2),
                1.5 * np.log(2 * np.pi) - np.log(_ROTATION_VOLUME) - 1.5 * np.log(weights),
            ],
            axis=1,
        )
        parts = np.exp(log_parts - log_parts.max(axis=1, keepdims=True))
        parts /= parts.sum(axis=1, keepdims=True)
        precision = parts[:, :2] @ _SPREADS**-2.0
        good = float(parts[:, :2].sum())
        left = max(good - unknowns, 0.5 * good * redundancy / len(lengths), 1e-9)
        # A fit to n unknowns lowers the sum over its edges by the share that the unknowns are.
        squares = float(precision @ lengths**2) / good
        fitted = max(float(np.sqrt(squares * good / (3 * left))), least_noise)
        shares = np.clip(parts.mean(axis=0), 1e-3, 1.0)
        shares /= shares.sum()
        done = abs(fitted - noise) <= 1e-6 * noise
        noise = fitted
        if done:
            break
    confidence = parts[:, :2].sum(axis=1)
    return NoiseMixture(noise, float(confidence.mean()), confidence, parts[:, :2] @ _SPREADS**-2.0)
