"""Scenes of any installed kind, and what the run that made one has recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from captures import Renderable
from runs import SCENES, RunDirectory, list_plugins, load_plugin


def load_scene(path: Path, *, device: torch.device) -> Renderable:
    """The scene in a file or run folder, read by the first installed kind that can.

    Raises:
        FileNotFoundError: Nothing there, or a run that has no scene yet.
        ValueError: No kind can read it; the message holds each one's reason.
    """
    reasons: dict[str, Exception] = {}
    for kind in list_plugins(SCENES):
        try:
            return load_plugin(SCENES, kind)(path, device=device)
        except (ValueError, ImportError) as error:
            reasons[kind] = error
    if len(reasons) == 1:
        raise next(iter(reasons.values()))
    listed = "; ".join(f"{kind}: {error}" for kind, error in reasons.items())
    raise ValueError(f"{path} is no scene that an installed kind reads: {listed or 'none is'}.")


def run_settings(path: Path) -> dict[str, Any]:
    """The saved configuration of a run folder; empty for a scene file."""
    return RunDirectory.open(path).config if path.is_dir() else {}


def training_summary(path: Path) -> dict[str, Any]:
    """How the training of a run folder ended; empty for a scene file or an older run."""
    return RunDirectory.open(path).read_summary() if path.is_dir() else {}
