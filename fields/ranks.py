"""Ranks under a budget: the core shape of a tensor.

The best Tucker approximation of a tensor with a core of shape R_1 x ... x R_N has, up to a factor
of N, the error that a sum over the modes gives: all squared singular values of each unfolding
beyond the first R_n. Choosing the shape is then a packing problem with additive gains. Reference:
Ghadiri, Fahrbach, Fu, Mirrokni, "Approximately optimal core shapes for tensor decompositions", ICML
2023, section 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CoreShape:
    """A Tucker decomposition that fits a budget."""

    ranks: tuple[int, ...]
    """Rank of each mode."""
    size: int
    """Numbers in core and factors."""
    surrogate: float
    """Sum over the modes of the squared singular values left out; the best squared error lies
    between an N-th of it and all of it."""


def mode_spectra(tensor: NDArray[np.floating]) -> list[NDArray[np.float64]]:
    """Squared singular values of each unfolding, descending, from the modes' Gram matrices."""
    values = np.asarray(tensor, dtype=np.float64)
    found = []
    for mode in range(values.ndim):
        unfolded = np.moveaxis(values, mode, 0).reshape(values.shape[mode], -1)
        energies = np.linalg.eigvalsh(unfolded @ unfolded.T)[::-1]
        found.append(np.maximum(energies, 0))
    return found


def best_core_shape(spectra: Sequence[NDArray[np.floating]], budget: int) -> CoreShape:
    """The shape of least surrogate error whose core and factors take at most `budget` numbers.

    Exact: all ranks of all modes but the longest are tried, and of that one the largest that fits,
    which is best as gains are never negative. For three modes of 512 these are 262,144 candidates,
    looked at together.

    Args:
        spectra: Squared singular values of each mode, descending.
        budget: Most numbers.

    Raises:
        ValueError: The budget is less than a core of one number needs, or there is no mode.
    """
    if not spectra:
        raise ValueError("`spectra` must hold one array per mode, got none.")
    lengths = [len(values) for values in spectra]
    smallest = 1 + sum(lengths)
    if budget < smallest:
        raise ValueError(
            f"`budget` {budget} is less than the {smallest} numbers of a core of rank 1 and its "
            "factors; allow more."
        )
    kept = [np.concatenate([[0.0], np.cumsum(values)]) for values in spectra]
    last = int(np.argmax(lengths))
    others = [mode for mode in range(len(spectra)) if mode != last]
    grids = np.meshgrid(*[np.arange(1, lengths[mode] + 1) for mode in others], indexing="ij")
    shape = grids[0].shape if grids else ()
    product, factors, gain = np.ones(shape), np.zeros(shape), np.zeros(shape)
    for mode, grid in zip(others, grids, strict=True):
        product = product * grid
        factors = factors + lengths[mode] * grid
        gain = gain + kept[mode][grid]
    fitting = np.floor((budget - factors) / (product + lengths[last]))
    rank = np.clip(fitting, 0, lengths[last]).astype(np.int64)
    total = np.where(rank > 0, gain + kept[last][rank], -np.inf)
    best = np.unravel_index(int(np.argmax(total)), shape) if grids else ()
    ranks = [0] * len(spectra)
    ranks[last] = int(rank[best])
    for position, mode in enumerate(others):
        ranks[mode] = int(best[position]) + 1
    size = int(np.prod(ranks)) + sum(r * n for r, n in zip(ranks, lengths, strict=True))
    energy = sum(float(values[-1]) for values in kept)
    loss = energy - sum(float(kept[mode][r]) for mode, r in enumerate(ranks))
    return CoreShape(tuple(ranks), size, max(loss, 0.0))


def tucker(
    tensor: NDArray[np.floating], ranks: Sequence[int]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Core and orthonormal factors [length, rank] of the truncated higher-order SVD.

    Its squared error is at most the surrogate of `best_core_shape` (De Lathauwer et al., 2000).
    """
    core, factors = np.asarray(tensor, dtype=np.float64), []
    for mode, rank in enumerate(ranks):
        unfolded = np.moveaxis(np.asarray(tensor, np.float64), mode, 0)
        unfolded = unfolded.reshape(unfolded.shape[0], -1)
        _, vectors = np.linalg.eigh(unfolded @ unfolded.T)
        factors.append(np.ascontiguousarray(vectors[:, ::-1][:, :rank]))
    for mode, factor in enumerate(factors):
        core = np.moveaxis(np.tensordot(factor.T, core, axes=(1, mode)), 0, mode)
    return core, factors


def brute_force_core_shape(
    spectra: Sequence[NDArray[np.floating]], budget: int
) -> CoreShape | None:
    """`best_core_shape` by trying every shape: its definition, for small tensors."""
    lengths = [len(values) for values in spectra]
    best: CoreShape | None = None
    for ranks in itertools.product(*[range(1, length + 1) for length in lengths]):
        size = int(np.prod(ranks)) + sum(r * n for r, n in zip(ranks, lengths, strict=True))
        if size > budget:
            continue
        loss = sum(float(values[r:].sum()) for values, r in zip(spectra, ranks, strict=True))
        if best is None or loss < best.surrogate:
            best = CoreShape(tuple(ranks), size, loss)
    return best
