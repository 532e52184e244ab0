"""Spent shares of step and time limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs import Budget


@given(step=st.integers(0, 100), elapsed=st.floats(0, 1e6))
def test_step_budget_ignores_the_clock(step: int, elapsed: float) -> None:
    assert Budget(max_steps=100).progress(step, elapsed) == step / 100


@given(step=st.integers(0, 200), elapsed=st.floats(0, 20))
def test_tighter_limit_counts(step: int, elapsed: float) -> None:
    budget = Budget(max_steps=100, max_seconds=10.0, save_share=0.1)
    expected = min(max(step / 100, elapsed / 9), 1)
    assert budget.progress(step, elapsed) == pytest.approx(expected)


def test_remaining_seconds() -> None:
    assert Budget(max_steps=100).remaining_seconds(40, 7.0, 2.0) == 30
    assert Budget(max_steps=100).remaining_seconds(40, 7.0, 0.0) == float("inf")
    both = Budget(max_steps=100, max_seconds=10.0, save_share=0.1)
    assert both.remaining_seconds(40, 7.0, 2.0) == 2
    assert both.remaining_seconds(99, 7.0, 2.0) == 0.5
    assert both.remaining_seconds(40, 12.0, 2.0) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs `max_steps`, `max_seconds` or both"),
        ({"max_steps": 0}, "`max_steps` must be at least 1, got 0"),
        ({"max_seconds": 0.0}, "`max_seconds` must be above 0"),
        ({"max_seconds": float("nan")}, "`max_seconds` must be above 0, got nan"),
        ({"max_steps": 1, "save_share": 1.0}, "`save_share` must be in"),
    ],
)
def test_bad_budgets_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Budget(**options)  # pyright: ignore[reportArgumentType]
