"""Adam for large tensors, of which a step moves the rows that rays met, and for a small network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from splats.training.optimizer import SelectiveAdam

BETAS = (0.9, 0.99)


class GridOptimizer:
    """One Adam per tensor, and one for the rest of a field's parameters."""

    def __init__(self, grids: list[nn.Parameter], others: list[nn.Parameter]) -> None:
        self._grids = grids
        self._selective = [SelectiveAdam([grid], betas=BETAS) for grid in grids]
        self._rest = torch.optim.Adam(others, betas=BETAS, eps=1e-15)

    def step(self, *, grids: float, others: float) -> None:
        """Descend at these learning rates, and forget the gradients.

        A row that no ray met keeps its values and its moments: Adam would move it on by those.
        """
        for grid, optimizer in zip(self._grids, self._selective, strict=True):
            if grid.grad is not None:
                optimizer.param_groups[0]["lr"] = grids
                optimizer.step(grid.grad.flatten(1).any(dim=1))
                grid.grad = None
        self._rest.param_groups[0]["lr"] = others
        self._rest.step()
        self._rest.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Moments and steps."""
        every = [*self._selective, self._rest]
        return {str(i): optimizer.state_dict() for i, optimizer in enumerate(every)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        for i, optimizer in enumerate([*self._selective, self._rest]):
            optimizer.load_state_dict(state[str(i)])
