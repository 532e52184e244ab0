"""Core shapes: exact against every shape, sandwiched as the paper proves, never over the budget."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fields.ranks import (
    best_core_shape,
    brute_force_core_shape,
    mode_spectra,
    tucker,
)


def tensor(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random with decaying spectra."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape)
    for mode, length in enumerate(shape):
        decay = random.uniform(0.5, 0.95) ** np.arange(length)
        values = np.moveaxis(np.moveaxis(values, mode, -1) * decay, -1, mode)
        turn, _ = np.linalg.qr(random.standard_normal((length, length)))
        values = np.moveaxis(np.tensordot(turn, values, axes=(1, mode)), 0, mode)
    return values


@pytest.mark.parametrize("shape", [(5, 7, 4), (6, 3), (3, 4, 3, 5)])
def test_the_shape_is_the_best_of_all_and_fits(shape: tuple[int, ...]) -> None:
    spectra = mode_spectra(tensor(shape))
    for budget in range(1 + sum(shape), 220, 13):
        found, best = best_core_shape(spectra, budget), brute_force_core_shape(spectra, budget)
        assert best is not None
        assert found.size <= budget
        assert found.surrogate == pytest.approx(best.surrogate, rel=1e-9, abs=1e-9)


def test_the_error_of_the_decomposition_lies_in_the_sandwich() -> None:
    values = tensor((8, 9, 7), seed=3)
    spectra = mode_spectra(values)
    for budget in (60, 120, 240, 400):
        shape = best_core_shape(spectra, budget)
        core, factors = tucker(values, shape.ranks)
        again = core
        for mode, factor in enumerate(factors):
            again = np.moveaxis(np.tensordot(factor, again, axes=(1, mode)), 0, mode)
        error = float(np.square(values - again).sum())
        assert shape.surrogate / 3 - 1e-9 <= error <= shape.surrogate + 1e-9


def test_more_budget_never_costs_quality() -> None:
    spectra = mode_spectra(tensor((12, 10, 11), seed=5))
    losses = [best_core_shape(spectra, budget).surrogate for budget in range(40, 900, 20)]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(losses))


def test_a_budget_below_rank_one_is_refused() -> None:
    with pytest.raises(ValueError, match="`budget` 9"):
        best_core_shape(mode_spectra(tensor((4, 3, 3))), 9)
