"""Which edges are noisy measurements and which are outliers, from their residuals alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_ROTATION_VOLUME = 8 * np.pi**2  # of SO(3) where small turns have the volume of their vectors
_MEDIAN_LENGTH = 1.5382  # of a vector of three standard normal numbers
_LEAST_NOISE = 1e-7  # radians


@dataclass(frozen=True)
class NoiseMixture:
    """Gaussian noise on a share of the edges, uniformly random rotations on the others."""

    noise: float
    """Standard deviation per axis of good edges of weight 1, radians; 0 without redundancy."""
    inlier_share: float
    """Estimated share of good edges."""
    confidence: Float[np.ndarray, "E"]
    """Probability of each edge to be good."""


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
        return NoiseMixture(0.0, 1.0, np.ones(len(lengths)))
    noise = max(float(np.median(lengths)) / _MEDIAN_LENGTH, least_noise)
    share = 0.75
    confidence = np.ones(len(lengths))
    for _ in range(100):
        log_good = np.log(share) - 1.5 * np.log(2 * np.pi * noise**2) - lengths**2 / 2 / noise**2
        log_wild = np.log(1 - share) - np.log(_ROTATION_VOLUME) - 1.5 * np.log(weights)
        confidence = 1 / (1 + np.exp(np.clip(log_wild - log_good, -50, 50)))
        good = float(confidence.sum())
        left = max(good - unknowns, 0.5 * good * redundancy / len(lengths), 1e-9)
        fitted = max(float(np.sqrt(confidence @ lengths**2 / (3 * left))), least_noise)
        share = float(np.clip(good / len(lengths), 0.05, 0.999))
        done = abs(fitted - noise) <= 1e-6 * noise
        noise = fitted
        if done:
            break
    return NoiseMixture(noise, share, confidence)
