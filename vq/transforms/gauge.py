"""Freedoms of a parametrization that change nothing it stands for: removed, they cost no bits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray


@dataclass(frozen=True)
class CanonicalFrames:
    """Orientations and scales whose gauge is fixed, and how to go back."""

    quats: Float[np.ndarray, "n 4"]
    """(w, x, y, z), unit length, w the largest component and positive."""
    log_scales: Float[np.ndarray, "n 3"]
    """Descending."""
    gauge: Int[np.ndarray, "n"]
    """Which of `ROTATIONS` was applied; storing it (log2 24 = 4.58 bits) recovers the input's own
    axes, leaving it out loses nothing that a covariance shows."""


def _axis_rotations() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The 24 rotations that map axes to axes: quaternions, and where each axis comes from."""
    quats, sources = [], []
    for permutation in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[permutation, range(3)] = signs
            if np.linalg.det(matrix) > 0:
                quats.append(_quat_of(matrix))
                sources.append(permutation)
    return np.array(quats), np.array(sources)


def _quat_of(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The unit quaternion of a rotation: the dominant eigenvector of its 4 x 4 form."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    form = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    values, vectors = np.linalg.eigh(form)
    quat = vectors[:, values.argmax()]
    # Components are 0, 1/2, sqrt(1/2) or 1 exactly.
    return np.sign(quat) * np.sqrt(np.round(4 * quat**2) / 4)


ROTATIONS, SOURCES = _axis_rotations()
"""[24, 4] quaternions g, and [24, 3]: axis j of the frame q g is axis `SOURCES[., j]` of q."""

_SORTING = np.array(
    [[np.flatnonzero((SOURCES[:, :2] == (i, j)).all(1)) if i != j else [0] * 4 for j in range(3)]
     for i in range(3)]
)  # fmt: skip
"""[3, 3, 4] the rotations whose first two axes come from axes i and j."""


def canonical_frames(
    quats: NDArray[np.floating], log_scales: NDArray[np.floating]
) -> CanonicalFrames:
    """Choose, of the 24 x 2 descriptions of each covariance R S² Rᵀ, the canonical one.

    Axes are sorted by descending scale (equal scales keep their order); of the four rotations and
    two signs left, the one with the largest w.

    Args:
        quats: (w, x, y, z), [n, 4], any non-zero length.
        log_scales: [n, 3].

    Raises:
        ValueError: A quaternion is zero or a shape is wrong.
    """
    quats = np.asarray(quats, dtype=np.float64)
    scales = np.asarray(log_scales)
    if quats.shape != (len(quats), 4) or scales.shape != (len(quats), 3):
        raise ValueError(f"expected [n, 4] and [n, 3], got {quats.shape} and {scales.shape}.")
    lengths = np.linalg.norm(quats, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise ValueError("`quats` must not be zero.")
    order = np.argsort(-scales, axis=1, kind="stable")
    sorting = _SORTING[order[:, 0], order[:, 1]]
    turned = multiply((quats / lengths)[:, None], ROTATIONS[sorting])
    best = np.abs(turned[..., 0]).argmax(1)
    gauge = np.take_along_axis(sorting, best[:, None], axis=1)[:, 0]
    chosen = np.take_along_axis(turned, best[:, None, None], axis=1)[:, 0]
    chosen *= np.where(chosen[:, :1] < 0, -1, 1)
    return CanonicalFrames(chosen, np.take_along_axis(scales, order, axis=1), gauge)


def original_frames(frames: CanonicalFrames) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Unit quaternions [n, 4] (up to sign) and log scales [n, 3] before `canonical_frames`."""
    inverse = ROTATIONS[frames.gauge] * np.array([1, -1, -1, -1])
    scales = np.empty_like(frames.log_scales)
    np.put_along_axis(scales, SOURCES[frames.gauge], frames.log_scales, axis=1)
    return multiply(frames.quats, inverse), scales


def multiply(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """Hamilton products of quaternions (w, x, y, z), broadcast."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


@dataclass(frozen=True)
class CanonicalFactors:
    """A CP decomposition sum_r weights_r a_r ⊗ b_r ⊗ ... without its freedoms."""

    weights: Float[np.ndarray, "rank"]
    """Non-negative, descending."""
    factors: tuple[NDArray[np.floating], ...]
    """[length, rank] each, columns of unit length; in all but the last factor the entry of largest
    magnitude of each column is positive."""


def canonical_factors(factors: Sequence[NDArray[np.floating]]) -> CanonicalFactors:
    """Fix scale, sign and order of the columns of CP factors; the tensor stays the same.

    Saves log2 R! + R (k - 1) bits of freedom for k factors of R columns, and makes columns
    comparable. A column that is zero in one factor gets weight zero.

    Raises:
        ValueError: The factors differ in their number of columns.
    """
    arrays = [np.asarray(factor, dtype=np.float64) for factor in factors]
    if len({array.shape[1] for array in arrays}) != 1:
        raise ValueError(
            f"`factors` must have as many columns each, got {[*map(np.shape, arrays)]}."
        )
    lengths = [np.linalg.norm(array, axis=0) for array in arrays]
    units = [a / np.where(size > 0, size, 1) for a, size in zip(arrays, lengths, strict=True)]
    total = np.ones(units[0].shape[1])
    for i, unit in enumerate(units[:-1]):
        largest = np.take_along_axis(unit, np.abs(unit).argmax(0)[None], axis=0)[0]
        sign = np.where(largest < 0, -1.0, 1.0)
        units[i] = unit * sign
        total *= sign
    units[-1] = units[-1] * total
    weights = np.prod(lengths, axis=0)
    order = np.argsort(-weights, kind="stable")
    return CanonicalFactors(weights[order], tuple(unit[:, order] for unit in units))


def expand(canonical: CanonicalFactors) -> tuple[NDArray[np.floating], ...]:
    """Factors of the same tensor, the weights shared evenly between them."""
    share = canonical.weights ** (1 / len(canonical.factors))
    return tuple(factor * share for factor in canonical.factors)
