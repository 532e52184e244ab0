"""Reading a run's scalars rarely, and noticing when its numbers stop being finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .trainee import Scalars


class ScalarWatch:
    """Keeps the scalars of the steps since the last reading, without waiting for any of them.

    Reading a tensor on a GPU waits for all work queued before it, so nothing is read per step.
    """

    def __init__(self) -> None:
        self._losses: list[float | Tensor] = []
        self._newest: Scalars = {}

    def add(self, scalars: Scalars) -> None:
        """Take the scalars of one more step."""
        self._newest = {
            name: value.detach() if isinstance(value, Tensor) else value
            for name, value in scalars.items()
        }
        if "loss" in self._newest:
            self._losses.append(self._newest["loss"])

    def values(self) -> dict[str, float]:
        """The scalars of the newest step as numbers."""
        return {name: float(value) for name, value in self._newest.items()}

    def steps_since_finite(self) -> int:
        """How many steps ago the loss was last finite, 0 if it is; forgets the losses read."""
        if not self._losses:
            return 0
        losses = torch.stack([torch.as_tensor(loss, dtype=torch.float32) for loss in self._losses])
        self._losses.clear()
        bad = (~torch.isfinite(losses)).nonzero().flatten()
        return 0 if len(bad) == 0 else len(losses) - int(bad[0])


def find_nan(state: Any, where: str = "state") -> str | None:
    """Dotted name of the first tensor that holds a NaN inside nested containers, None without one.

    Infinity is allowed: it is a usual start value for minima and bounds.
    """
    if isinstance(state, Tensor):
        has_nan = state.is_floating_point() and bool(torch.isnan(state).any())
        return where if has_nan else None
    items: Any = ()
    if isinstance(state, dict):
        items = state.items()
    elif isinstance(state, list | tuple):
        items = enumerate(state)
    found = (find_nan(item, f"{where}.{name}") for name, item in items)
    return next((name for name in found if name is not None), None)
