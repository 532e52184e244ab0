"""The best that fifteen minutes on the CPU give; apart from `train`, so that that stays short."""

from __future__ import annotations

from collections.abc import Iterator

from .command import real_data
from .metric import Metric
from .train import Budget, held_out


def run(*, quick: bool) -> Iterator[Metric]:
    """The fox at a quarter of its resolution for 900 seconds; 20 when quick."""
    data = real_data("scenes/fox")
    if data is not None:
        yield from held_out(Budget("fox", 4, 20 if quick else 900), data)
