"""Means and medians of flags: nested subspaces, and with them rotations and poses.

A flag of type (n_1 < ... < n_k; n) is a chain of nested subspaces. It is held as an orthonormal
matrix [n, n_k] whose column blocks, of widths n_1, n_2 - n_1, ..., span what each subspace adds;
signs and rotations inside a block do not matter.

Reference: Mankovich and Birdal, "Chordal Averaging on Flag Manifolds and Its Applications",
ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_EPS = 1e-4  # distances below it count as equal in the median's weights, as in the paper


def chordal_distances(
    flag: Float[np.ndarray, "n d"], flags: Float[np.ndarray, "N n d"], flag_type: Sequence[int]
) -> Float[np.ndarray, "N"]:
    """Chordal distances of `flag` to each of `flags`: sqrt(sum_b m_b - ||X_b^T Y_b||^2).

    Args:
        flag: One flag, orthonormal columns.
        flags: Others of the same type.
        flag_type: Dimensions n_1 < ... < n_k of the nested subspaces; the last is d.
    """
    flag_type = _checked(flags, flag_type)
    total = np.zeros(len(flags))
    for block in _blocks(flag_type):
        inner = flag[:, block].T @ flags[:, :, block]
        total += (block.stop - block.start) - (inner**2).sum(axis=(1, 2))
    return np.sqrt(np.maximum(total, 0.0))


def flag_mean(
    flags: Float[np.ndarray, "N n d"],
    flag_type: Sequence[int],
    *,
    weights: Float[np.ndarray, "N"] | None = None,
    start: Float[np.ndarray, "n d"] | None = None,
    max_iterations: int = 500,
    tolerance: float = 1e-12,
) -> Float[np.ndarray, "n d"]:
    """The flag of least weighted sum of squared chordal distances.

    Maximizes sum_b tr(X_b^T P_b X_b), P_b = sum_j w_j Y_b^j Y_b^jT, over orthonormal X. The
    objective is convex in X, so X <- polar([P_1 X_1 | ... | P_k X_k]) never lowers it and needs no
    step size.

    Args:
        flags: Orthonormal columns each.
        flag_type: Dimensions n_1 < ... < n_k of the nested subspaces; the last is d.
        weights: Non-negative; None weighs all alike.
        start: First guess; None takes the leading eigenvectors of each P_b in turn.
        max_iterations: Bound on the number of updates.
        tolerance: Relative gain of the objective at which to stop.

    Raises:
        ValueError: No flags, a type that does not fit, or weights that are negative or all zero.
    """
    flag_type = _checked(flags, flag_type)
    weights = _weights(weights, len(flags))
    blocks = _blocks(flag_type)
    scatters = [
        np.einsum("j,jac,jbc->ab", weights, flags[:, :, block], flags[:, :, block])
        for block in blocks
    ]
    flag = _leading(scatters, blocks) if start is None else start
    before = -np.inf
    for _ in range(max_iterations):
        images = [P @ flag[:, block] for P, block in zip(scatters, blocks, strict=True)]
        value = sum(
            float((flag[:, block] * image).sum())
            for block, image in zip(blocks, images, strict=True)
        )
        if value - before <= tolerance * max(abs(value), 1e-300):
            break
        before, flag = value, polar(np.concatenate(images, axis=1))
    return flag


def flag_median(
    flags: Float[np.ndarray, "N n d"],
    flag_type: Sequence[int],
    *,
    weights: Float[np.ndarray, "N"] | None = None,
    max_iterations: int = 100,
    tolerance: float = 1e-9,
) -> Float[np.ndarray, "n d"]:
    """The flag of least weighted sum of chordal distances: up to half of them may be outliers.

    Weiszfeld's iteration: flag means with weights w_j / max(distance_j, 1e-4), begun at the mean.

    Args:
        flags: Orthonormal columns each.
        flag_type: Dimensions n_1 < ... < n_k of the nested subspaces; the last is d.
        weights: Non-negative; None weighs all alike.
        max_iterations: Bound on the number of reweightings.
        tolerance: Chordal movement at which to stop.
    """
    weights = _weights(weights, len(flags))
    flag = flag_mean(flags, flag_type, weights=weights)
    for _ in range(max_iterations):
        distances = chordal_distances(flag, flags, flag_type)
        now = weights / np.maximum(distances, _EPS)
        moved = flag_mean(flags, flag_type, weights=now, start=flag)
        step = float(chordal_distances(moved, flag[None], flag_type)[0])
        flag = moved
        if step <= tolerance:
            break
    return flag


def polar(matrix: Float[np.ndarray, "*batch n d"]) -> Float[np.ndarray, "*batch n d"]:
    """The nearest matrix with orthonormal columns."""
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    return u @ vt


def _blocks(flag_type: Sequence[int]) -> list[slice]:
    return [slice(a, b) for a, b in zip((0, *flag_type[:-1]), flag_type, strict=True)]


def _checked(flags: np.ndarray, flag_type: Sequence[int]) -> tuple[int, ...]:
    flag_type = tuple(flag_type)
    rising = all(a < b for a, b in zip((0, *flag_type), flag_type, strict=False))
    if not flag_type or not rising or flags.ndim != 3 or flag_type[-1] != flags.shape[2]:
        raise ValueError(
            f"`flag_type` must rise from above 0 to the number of columns of `flags` [N, n, d], "
            f"got {flag_type} for {list(flags.shape)}."
        )
    if flags.shape[0] == 0 or not np.isfinite(flags).all():
        raise ValueError(
            f"`flags` must hold at least one flag and finite numbers only, got {list(flags.shape)}"
            f" with {int((~np.isfinite(flags)).sum())} numbers that are not finite."
        )
    return flag_type


def _weights(weights: np.ndarray | None, count: int) -> np.ndarray:
    if weights is None:
        return np.ones(count)
    weights = np.asarray(weights, np.float64)
    if weights.shape != (count,) or not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError(
            f"`weights` must be [{count}] and non-negative with a positive sum, got "
            f"{list(weights.shape)}, least {weights.min() if weights.size else None}."
        )
    return weights


def _leading(scatters: Sequence[np.ndarray], blocks: Sequence[slice]) -> np.ndarray:
    """Block by block the leading eigenvectors of P_b outside of what is taken already."""
    n = scatters[0].shape[0]
    taken = np.zeros((n, 0))
    for scatter, block in zip(scatters, blocks, strict=True):
        free = np.eye(n) - taken @ taken.T
        _, vectors = np.linalg.eigh(free @ scatter @ free - n * taken @ taken.T)
        taken = np.concatenate([taken, vectors[:, ::-1][:, : block.stop - block.start]], axis=1)
    return polar(taken)
