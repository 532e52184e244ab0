"""One short run of the toy, with the same settings wherever it is started from."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs import Budget, Cadence, RunDirectory, Summary, seed_everything, train

from .toy import ToyTrainee

INTERVAL = 20
CADENCE = Cadence(
    checkpoint_every_steps=INTERVAL, checkpoint_every_seconds=None, log_every=7, preview_every=30
)


@dataclass(frozen=True)
class ToyConfig:
    """Settings of the toy's run."""

    seed: int = 5
    """Of all generators."""


def run_toy(
    path: Path,
    *,
    max_steps: int,
    resume: bool = True,
    trainee: ToyTrainee | None = None,
    **options: Any,
) -> Summary:
    """Train a new toy in `path` up to `max_steps`, resuming where there is something to resume."""
    config = ToyConfig()
    run = RunDirectory.create(path, method="toy", config=config, resume=resume)
    seed_everything(config.seed)
    options = {"budget": Budget(max_steps=max_steps), "cadence": CADENCE} | options
    return train(trainee or ToyTrainee(), run, **options)


def deliverables(path: Path) -> dict[str, bytes]:
    """What must not depend on interruptions: the scene and every row of metrics."""
    return {name: (path / name).read_bytes() for name in ("scene.ply", "metrics.jsonl")}


def steps_done(path: Path) -> int:
    """How many steps a process had finished in the run `path` when it ended or was killed."""
    counter = Path(f"{path}.steps")
    content = counter.read_bytes() if counter.exists() else b""
    return struct.unpack("<q", content)[0] if content else 0
