"""A finished scene fitted to photos again while it is rounded to the grids of its file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from captures import Capture

from ..gaussians import Gaussians
from .compact_config import CompactConfig
from .compact_method import CompactMethod
from .compress import Goal

REFINE_STEPS = 600
_FROM = 0.7
"""Share of a training's budget whose learning rates a refinement begins with."""
_IDLE_SHARE = 0.004

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refinement:
    """How long, and from which randomness."""

    steps: int = REFINE_STEPS
    """Training steps, one photo each."""
    seed: int = 0
    """Of the order of the photos."""


def refine(
    gaussians: Gaussians,
    capture: Capture,
    goal: Goal,
    *,
    antialiased: bool = False,
    refinement: Refinement | None = None,
    on_step: Callable[[int], None] | None = None,
) -> CompactMethod:
    """A compact trainee that has adapted to rounding; its `save_scene` writes the asset.

    Args:
        gaussians: In the frame of the capture's source.
        capture: The photos; held-out ones are not looked at.
        goal: Size or loss of the file; the loss is that of rounding before the refinement.
        antialiased: Whether the scene was trained with the opacity compensation.
        refinement: Length and seed.
        on_step: Called with the number of steps done.
    """
    refinement = refinement or Refinement()
    config = CompactConfig(
        max_gaussians=max(1, len(gaussians)),
        init="random",
        num_init=1,
        sh_degree=gaussians.sh_degree,
        antialiased=antialiased,
        coarse_until=0.0,
        target_size=goal.target_bytes,
        quality=goal.loss,
        grow_until=0.0,
        prune_at=0.0,
        quantize_from=0.0,
        idle_share=_IDLE_SHARE,
    )
    device = torch.device("cpu")
    method = CompactMethod.create(config, capture, device=device, seed=refinement.seed)
    method.start_from(gaussians.transformed(capture.T_source_capture.inverse()))
    for done in range(refinement.steps):
        method.step(done, _FROM + (1 - _FROM) * done / refinement.steps)
        if on_step is not None:
            on_step(done + 1)
    return method
