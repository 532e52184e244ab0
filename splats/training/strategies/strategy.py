"""The protocol between the trainer and a densification strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor
from torch.optim import Optimizer

from ..parameters import Parameters


@dataclass(frozen=True)
class StepInfo:
    """What a strategy may learn from one rendered training step of C cameras."""

    radii: Shaped[Tensor, "C N 2"]
    """Screen radii in pixels, 0 for Gaussians that were culled (`meta["radii"]`)."""
    width: int
    """Width of the rendered image in pixels."""
    height: int
    """Height of the rendered image in pixels."""
    means_learning_rate: float
    """Learning rate of the means in this step, world units."""
    screen_gradient: Float[Tensor, "C N 2"] | None = None
    """`meta["means2d"].grad`, or its `.absgrad`, per pixel; None if the strategy needs none."""


@dataclass(frozen=True)
class Refinement:
    """What one refinement changed."""

    num_added: int = 0
    """Gaussians by which the set grew, before pruning."""
    num_removed: int = 0
    """Gaussians that were pruned."""
    num_relocated: int = 0
    """Gaussians that were moved elsewhere."""


@runtime_checkable
class Strategy(Protocol):
    """Edits the Gaussians between optimizer steps.

    The trainer calls, in every step: backward, `add_regularization`, the optimizer's step,
    `step_post_backward`. Equal seeds and equal inputs give identical bits, and `state_dict` holds
    everything that the continuation depends on.
    """

    @property
    def needs_screen_gradient(self) -> bool:
        """Whether `StepInfo.screen_gradient` must be given."""
        ...

    @property
    def needs_absgrad(self) -> bool:
        """Whether that gradient must be the one of absolute values (`absgrad=True`)."""
        ...

    def initialize_state(self, num: int) -> None:
        """Start afresh with `num` Gaussians."""
        ...

    def add_regularization(self, params: Parameters) -> None:
        """Add the gradients of the strategy's regularizers to the parameters' `.grad`."""
        ...

    def step_post_backward(
        self,
        params: Parameters,
        optimizer: Optimizer,
        *,
        step: int,
        progress: float,
        info: StepInfo,
    ) -> Refinement | None:
        """Gather statistics and, when it is time, change the set.

        Args:
            params: Changed in place; its parameters are new objects after a change of size.
            optimizer: The moments follow their rows.
            step: Number of this step, from 0.
            progress: Share of the budget that is spent, in [0, 1].
            info: About the render of this step.

        Returns:
            What changed, or None in steps without a refinement.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Statistics and random state: tensors and numbers only."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        ...
