"""Means of late steps, whatever their number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splats.compact.averaging import RunningAverage


@pytest.mark.parametrize("power", [0.0, 1.0, 4.0])
def test_weights_are_those_of_the_polynomial(power: float) -> None:
    """Step t weighs Gamma(t + power) / Gamma(t), as unrolling the recursion gives."""
    steps = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    average = RunningAverage(power)
    for step in steps:
        average.update({"x": step})
    t = np.arange(1, 41, dtype=np.float64)
    ratios = np.where(t > 1, (t - 1 + power) / np.maximum(t - 1, 1), 1.0)
    weights = np.cumprod(ratios)
    expected = (weights / weights.sum()) @ steps.double().numpy()
    np.testing.assert_allclose(average.values["x"].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_averaging_continues_to_the_same_bits() -> None:
    """And what it continues from goes its own way."""
    steps = torch.randn(20, 5, generator=torch.Generator().manual_seed(1))
    straight, first, second = (RunningAverage(4.0) for _ in range(3))
    for step in steps:
        straight.update({"x": step})
    for step in steps[:8]:
        first.update({"x": step})
    second.load_state_dict(first.state_dict())
    first.update({"x": steps[0]})
    for step in steps[8:]:
        second.update({"x": step})
    assert torch.equal(straight.values["x"], second.values["x"])


def test_the_given_tensors_stay_as_they_are() -> None:
    average, given = RunningAverage(2.0), torch.ones(3)
    average.update({"x": given})
    average.update({"x": torch.zeros(3)})
    assert torch.equal(given, torch.ones(3)) and not torch.equal(average.values["x"], given)
