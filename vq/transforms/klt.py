"""The Karhunen-Loève transform (PCA), plain and weighted by how much errors show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .linear import LinearTransform


def fit_klt(
    x: NDArray[np.floating],
    *,
    rank: int | None = None,
    weights: NDArray[np.floating] | None = None,
    sensitivity: NDArray[np.floating] | None = None,
    bits: int = 14,
) -> LinearTransform:
    """Directions of `x [n, d]` in the order of their variance.

    Args:
        x: The rows.
        rank: Directions to keep; None keeps all.
        weights: Importance of each row, [n], non-negative.
        sensitivity: W = E[JᵀJ], [d, d], positive definite: the square of the change of an image
            per change of a row. The coefficients are then those of W^(1/2) x, in which equal
            errors are equally visible; reverse water-filling over them is the weighted one.
        bits: Fractional bits of the stored directions.

    Raises:
        ValueError: A shape does not fit, or W is not positive definite.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or len(x) == 0:
        raise ValueError(f"`x` must be [n >= 1, d], got {list(x.shape)}.")
    if weights is None:
        mean, total = x.mean(axis=0), float(len(x))
        centered = scaled = x - mean
    else:
        shares = np.asarray(weights, dtype=np.float64)
        if shares.shape != (len(x),) or shares.min() < 0 or shares.sum() <= 0:
            raise ValueError("`weights` must be [n], non-negative and not all zero.")
        total = float(shares.sum())
        mean = shares @ x / total
        centered = x - mean
        scaled = centered * shares[:, None]
    covariance = scaled.T @ centered / total
    if sensitivity is None:
        directions = principal_directions(covariance)[:rank]
        return LinearTransform.of(directions, mean=mean, bits=bits)
    values, vectors = np.linalg.eigh(np.asarray(sensitivity, dtype=np.float64))
    if values.shape != (x.shape[1],) or values.min() <= 0:
        raise ValueError("`sensitivity` must be [d, d] and positive definite.")
    root = (vectors * np.sqrt(values)) @ vectors.T
    inverse_root = (vectors / np.sqrt(values)) @ vectors.T
    directions = principal_directions(root @ covariance @ root)[:rank] @ inverse_root
    return LinearTransform.of(directions, mean=mean, bits=bits, metric=np.asarray(sensitivity))


def principal_directions(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eigenvectors as rows, the largest eigenvalue first, the largest entry of each positive."""
    directions = np.linalg.eigh(covariance)[1].T[::-1]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], axis=1)
    return directions * np.sign(largest)
