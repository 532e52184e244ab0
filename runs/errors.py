"""What can go wrong with a run, as exceptions whose text tells the user what to do."""

from __future__ import annotations


class RunError(RuntimeError):
    """A run cannot start, go on or be read."""


class CheckpointError(RunError):
    """A checkpoint cannot be written or used."""


class CorruptCheckpointError(CheckpointError):
    """A checkpoint file is truncated, damaged or not a checkpoint."""


class NonFiniteLossError(RunError):
    """The loss or the trained state stopped being a finite number."""
