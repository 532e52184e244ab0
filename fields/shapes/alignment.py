"""Comparing and aligning the latents of two encoders on the same shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

Rows = Float[np.ndarray, "n d"]


def relative(codes: Rows, anchors: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "n k"]:
    """Cosines of centered codes to centered anchors.

    They do not change when the latent space is turned, mirrored, shifted or scaled, so encoders
    that differ by such a map agree without any training.

    Args:
        codes: Latents to describe.
        anchors: Latents of the anchor shapes under the same encoder; their mean is the center.

    Reference: Moschella et al., "Relative Representations Enable Zero-shot Latent Space
    Communication", ICLR 2023, section 3.
    """
    if codes.shape[1] != anchors.shape[1]:
        raise ValueError(
            f"`codes` and `anchors` must have one length, got {codes.shape[1]} and "
            f"{anchors.shape[1]}; both must come from the same encoder."
        )
    middle = anchors.mean(0)
    return _unit(codes - middle) @ _unit(anchors - middle).T


@dataclass(frozen=True)
class Similarity:
    """y = scale · rotation x + shift, fitted to pairs."""

    rotation: Float[np.ndarray, "d d"]
    """Orthogonal; a reflection is allowed."""
    scale: float
    """Positive."""
    shift: Float[np.ndarray, "d"]
    """Added last."""

    @classmethod
    def fit(cls, source: Rows, target: Rows) -> Similarity:
        """The best one in the sense of squares (orthogonal Procrustes, Schönemann 1966)."""
        a, b = source - source.mean(0), target - target.mean(0)
        u, values, vt = np.linalg.svd(b.T @ a)
        rotation = u @ vt
        scale = float(values.sum() / max((a**2).sum(), 1e-30))
        return cls(rotation, scale, target.mean(0) - scale * rotation @ source.mean(0))

    def __call__(self, codes: Rows) -> Rows:
        """Codes of the source encoder in the space of the target's."""
        return self.scale * codes @ self.rotation.T + self.shift


@dataclass(frozen=True)
class Subspaces:
    """Directions in which two encoders vary together (canonical correlation analysis)."""

    left: Float[np.ndarray, "d k"]
    """Of the first encoder's centered codes; projections have variance 1."""
    right: Float[np.ndarray, "e k"]
    """Of the second's."""
    left_mean: Float[np.ndarray, "d"]
    """Center of the first."""
    right_mean: Float[np.ndarray, "e"]
    """Center of the second."""
    correlations: Float[np.ndarray, "k"]
    """Falling, in [0, 1]."""

    @classmethod
    def fit(
        cls, left: Rows, right: Float[np.ndarray, "m e"], *, dims: int, ridge: float = 1e-2
    ) -> Subspaces:
        """`dims` directions from paired codes of any two lengths.

        Few well-chosen directions match encoders that full maps do not ("Escaping Plato's Cave",
        arXiv 2503.05283).

        Args:
            left: Codes of the first encoder, one row per shape.
            right: Those of the second, in the same order.
            dims: Directions kept.
            ridge: Added to both covariances, as a share of their mean variance.
        """
        if len(left) != len(right) or not 1 <= dims <= min(left.shape[1], right.shape[1]):
            raise ValueError(
                f"`left` and `right` must be paired and at least {dims} long, "
                f"got {list(left.shape)} and {list(right.shape)}."
            )
        a, b = left - left.mean(0), right - right.mean(0)
        whiten_a, whiten_b = _whitening(a, ridge), _whitening(b, ridge)
        u, values, vt = np.linalg.svd(whiten_a.T @ (a.T @ b / len(a)) @ whiten_b)
        return cls(
            whiten_a @ u[:, :dims],
            whiten_b @ vt[:dims].T,
            left.mean(0),
            right.mean(0),
            np.clip(values[:dims], 0, 1),
        )

    def project(
        self, left: Rows, right: Float[np.ndarray, "m e"]
    ) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "m k"]]:
        """Both encoders' codes in the common space."""
        return (left - self.left_mean) @ self.left, (right - self.right_mean) @ self.right


def matching_accuracy(left: Rows, right: Rows) -> float:
    """Share of shapes whose nearest code of the other encoder, by cosine, is their own."""
    return float(((_unit(left) @ _unit(right).T).argmax(1) == np.arange(len(left))).mean())


def assignment_accuracy(left: Rows, right: Rows) -> float:
    """The same when all shapes are matched one to one (Hungarian method)."""
    _, columns = linear_sum_assignment(-_unit(left) @ _unit(right).T)
    return float((columns == np.arange(len(left))).mean())


def set_distance(one: Rows, other: Rows) -> float:
    """Distance of two sets of vectors whose order means nothing: the root mean square over the best
    one-to-one matching. Latents that are sets must be compared so, not row by row."""
    if one.shape != other.shape:
        raise ValueError(f"`one` and `other` must have one shape, got {one.shape}, {other.shape}.")
    costs = ((one[:, None] - other[None]) ** 2).sum(-1)
    rows, columns = linear_sum_assignment(costs)
    return float(np.sqrt(costs[rows, columns].mean()))


def pooled(tokens: Rows) -> Float[np.ndarray, "p"]:
    """Mean, deviation and largest value per channel: a descriptor of a set for search, and what
    makes set latents rows that can be aligned (Deep Sets: permutation invariant)."""
    return np.concatenate([tokens.mean(0), tokens.std(0), tokens.max(0)])


def _unit(rows: Rows) -> Rows:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _whitening(centered: Rows, ridge: float) -> Float[np.ndarray, "d d"]:
    covariance = centered.T @ centered / len(centered)
    covariance += ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    return vectors / np.sqrt(np.maximum(values, 1e-12))
