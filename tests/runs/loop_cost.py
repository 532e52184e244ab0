"""Prints the processor seconds that the loop spends per step, without run-time type checks."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from runs import Cadence
from tests.runs.toy import ToyTrainee
from tests.runs.toy_run import run_toy

STEPS = 20_000


class Idle(ToyTrainee):
    """Does nothing in a step."""

    loss = torch.tensor(0.5)

    def step(self, step: int, progress: float) -> dict[str, float | torch.Tensor]:
        """Return a loss that nobody computed."""
        return {"loss": self.loss}


def main(folder: Path) -> None:
    """Measure in `folder`, after a short run that makes torch import everything it needs."""
    idle = Idle()
    run_toy(folder / "warm_up", max_steps=10, trainee=idle)
    begin = time.thread_time()
    cadence = Cadence(checkpoint_every_seconds=None)
    run_toy(folder / "measured", max_steps=STEPS, trainee=idle, cadence=cadence)
    sys.stdout.write(f"{(time.thread_time() - begin) / STEPS}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
