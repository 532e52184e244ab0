"""What a training method has to offer so that a run can train it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

Scalars = Mapping[str, float | Tensor]
"""Named numbers of one step; 0-dim tensors are read lazily, so each step returns fresh ones."""


@runtime_checkable
class Trainee(Protocol):
    """Something that improves step by step and can be saved, restored and delivered.

    For exact resume, everything that influences later steps is in `state_dict()` or in the global
    random generators of torch, numpy and Python (a run saves those itself).
    """

    def step(self, step: int, progress: float) -> Scalars:
        """Do one optimization step.

        Args:
            step: Number of steps done before this one, counted over all resumed sessions.
            progress: Spent share of the budget, in [0, 1); schedules are functions of it.

        Returns:
            Scalars to log. "loss" is watched: a run stops when it is not finite. "psnr" (decibels)
            is shown in the progress bar.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings, None and nested dicts, lists and tuples of them, nothing else.

        The tensors may be the live ones: they are written before the next step.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` returned; sizes may differ from the current ones."""
        ...

    def save_scene(self, path: Path) -> Path:
        """Write the deliverable in the frame of the source data and return the file written.

        Args:
            path: Proposed file such as RUN/scene.ply; an existing one is replaced. A method with
                another format changes the suffix.
        """
        ...

    @property
    def num_primitives(self) -> int:
        """Number of Gaussians, tensor components or other parts at this moment."""
        ...

    def preview(self) -> dict[str, float]:
        """Cheap held-out metrics for the progress bar, for example {"psnr": 27.1}.

        Must leave the state as it is; the run itself protects the random generators.
        """
        ...


@runtime_checkable
class WatchableTrainee(Trainee, Protocol):
    """A trainee whose present state is a scene that can be looked at while it trains."""

    def renderable(self) -> Any:
        """The current scene, a `captures.Renderable` (untyped: runs imports no other package)."""
        ...
