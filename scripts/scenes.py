"""What the run that made a scene has recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runs import RunDirectory


def run_settings(path: Path) -> dict[str, Any]:
    """The saved configuration of a run folder; empty for a scene file."""
    return RunDirectory.open(path).config if path.is_dir() else {}


def training_summary(path: Path) -> dict[str, Any]:
    """How the training of a run folder ended; empty for a scene file or an older run."""
    return RunDirectory.open(path).read_summary() if path.is_dir() else {}
