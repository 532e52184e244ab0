"""A tiny trainee whose every step depends on all random generators and on Adam's state."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


class ToyTrainee:
    """Linear regression under random noise and dropout; it grows now and then, as splats do."""

    def __init__(self, *, nan_at: int | None = None) -> None:
        generator = torch.Generator().manual_seed(3)
        self.inputs = torch.randn(32, 6, generator=generator)
        self.targets = self.inputs @ torch.randn(6, 1, generator=generator)
        self.nan_at = nan_at
        self._set_weights(torch.zeros(1, 6))

    def _set_weights(self, weights: Tensor) -> None:
        self.weights = weights.clone().requires_grad_()
        self.optimizer = torch.optim.Adam([self.weights], lr=0.02)

    def step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        """One Adam step on noisy, randomly masked data; every 50th step appends a row."""
        if step % 50 == 49:
            self._set_weights(torch.cat([self.weights.detach(), torch.randn(1, 6) * 0.1]))
        noise = torch.from_numpy(np.random.normal(size=(32, 1)).astype(np.float32))
        kept = torch.nn.functional.dropout(self.inputs, p=0.2)
        error = kept @ self.weights.sum(0)[:, None] - self.targets - 0.1 * random.random() * noise
        loss = error.square().mean() * (1.0 - 0.5 * progress)
        if step == self.nan_at:
            loss = loss * float("nan")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss, "progress": progress}

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimizer."""
        return {"weights": self.weights.detach(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The reverse of `state_dict`."""
        self._set_weights(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])

    def renderable(self) -> Any:
        """Nothing to see here."""
        return None

    def save_scene(self, path: Path) -> Path:
        """The weights as raw bytes."""
        path.write_bytes(self.weights.detach().numpy().tobytes())
        return path

    @property
    def num_primitives(self) -> int:
        """Rows of weights."""
        return len(self.weights)

    def preview(self) -> dict[str, float]:
        """Error without noise, as PSNR."""
        with torch.no_grad():
            error = (self.inputs @ self.weights.sum(0)[:, None] - self.targets).square().mean()
        return {"psnr": -10 * float(torch.log10(error))}


class Interrupted(Exception):
    """Stands for a crash of the process."""


class CrashingToy(ToyTrainee):
    """Crashes at the beginning of one step."""

    def __init__(self, crash_at: int) -> None:
        super().__init__()
        self.crash_at = crash_at

    def step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        """One step unless it is the fatal one."""
        if step == self.crash_at:
            raise Interrupted
        return super().step(step, progress)
