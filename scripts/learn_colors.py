"""Train invariant colors on clouds or meshes, for matching by moments; resumable."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from registration.learning import ColorsConfig

from . import STARTED_AT
from .common import Common, console


@dataclass(frozen=True, kw_only=True)
class LearnColorsConfig(Common):
    """Contrastive training on pairs of samplings of each cloud; writes OUT/coloring.npz."""

    clouds: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CLOUD...")]
    """Point clouds, meshes or splats to learn from."""
    out: Path
    """Folder of the run."""
    max_steps: int | None = None
    """Stop after this many steps; 1000 where neither limit is given."""
    max_seconds: float | None = None
    """Stop after this many seconds."""
    training: Annotated[ColorsConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=ColorsConfig
    )
    """Network and loss."""
    resume: bool = False
    """Continue the run in `--out`."""
    overwrite: bool = False
    """Delete the run in `--out` and start again."""


@dataclass(frozen=True)
class Settings:
    """What config.json of a run holds."""

    clouds: tuple[str, ...]
    """Files that were learned from."""
    seed: int
    """Seed of every random choice."""
    max_steps: int | None
    """Limit in steps."""
    max_seconds: float | None
    """Limit in seconds."""
    training: ColorsConfig
    """Network and loss."""


def run(config: LearnColorsConfig) -> dict[str, Any]:
    """Train; returns the summary of `--json`."""
    from registration.learning import ColorsMethod
    from registration.multiscan import points_of
    from runs import Budget, Cadence, RunDirectory, make_progress, train

    if not config.clouds:
        raise ValueError("name at least one cloud: fieldwright learn-colors CLOUD... --out RUN")
    limited = config.max_steps is not None or config.max_seconds is not None
    settings = Settings(
        clouds=tuple(str(path.resolve()) for path in config.clouds),
        seed=config.seed,
        max_steps=config.max_steps if limited else 1000,
        max_seconds=config.max_seconds,
        training=config.training,
    )
    clouds = [np.asarray(points_of(path)) for path in config.clouds]
    console.print(f"{len(clouds)} clouds, {sum(map(len, clouds)):,} points")
    directory = RunDirectory.create(
        config.out, method="colors", config=settings, overwrite=config.overwrite,
        resume=config.resume, may_change=("max_steps", "max_seconds"),
    )  # fmt: skip
    summary = train(
        ColorsMethod(config.training, clouds, seed=config.seed),
        directory,
        budget=Budget(settings.max_steps, settings.max_seconds),
        cadence=Cadence(preview_every=None),
        started=STARTED_AT,
        progress=make_progress(console),
    )
    console.print(f"Wrote {summary.scene}")
    return {
        "steps": summary.steps,
        "seconds": summary.seconds,
        "num_weights": summary.num_primitives,
        "output": str(summary.scene),
    }
