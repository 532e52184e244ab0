"""A scene as the mean of the last steps of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class RunningAverage:
    """The mean of tensors under training, which weighs late steps more.

    One photo at a time pulls parameters to and fro about where all photos want them; their mean
    lies nearer, the more so as learning rates may stay high. With step t weighing about t to
    `power`, the last 1 / (power + 1) of the steps count, however many there are: polynomial-decay
    averaging (Shamir and Zhang, "Stochastic gradient descent for non-smooth optimization:
    convergence results and optimal averaging schemes", ICML 2013).
    """

    def __init__(self, power: float) -> None:
        self._power = power
        self._count = 0
        self.values: dict[str, Tensor] = {}
        """The means; empty before the first `update`."""

    @torch.no_grad()
    def update(self, values: Mapping[str, Tensor]) -> None:
        """Count in `values`, of which names and shapes never change."""
        self._count += 1
        weight = (self._power + 1) / (self._count + self._power)
        for name, value in values.items():
            if self._count == 1:
                self.values[name] = value.detach().clone()
            else:
                self.values[name].lerp_(value.detach(), weight)

    def state_dict(self) -> dict[str, Any]:
        """Everything the continuation depends on."""
        return {"count": self._count, "values": dict(self.values)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._count = state["count"]
        self.values = {name: value.clone() for name, value in state["values"].items()}
