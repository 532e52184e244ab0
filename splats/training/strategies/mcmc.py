"""Densification as sampling: dead Gaussians move to live ones, and noise explores."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..parameters import Parameters, Rows
from .noise import add_position_noise
from .randomness import Randomness
from .relocation import relocated
from .strategy import Refinement, StepInfo

MAX_OPACITY = 1 - 1e-6
"""The logit of a larger float32 opacity would be infinite."""


@dataclass(frozen=True)
class McmcConfig:
    """Settings of `McmcStrategy`; times are shares of the training budget."""

    max_gaussians: int = 1_000_000
    """The set grows up to this many Gaussians."""
    refine_every: int = 100
    """Steps between refinements."""
    refine_start: float = 0.02
    """Progress at which refinement starts (the paper: step 500 of 30,000)."""
    refine_stop: float = 0.83
    """Progress at which refinement stops (the paper: step 25,000 of 30,000)."""
    growth: float = 0.05
    """Least growth per refinement until the cap is reached."""
    full_at: float = 0.4
    """Progress at which the cap should be reached; short budgets grow faster than `growth`."""
    min_opacity: float = 0.005
    """Gaussians of at most this opacity are dead and are relocated."""
    noise: float = 5e5
    """Noise added to the means per step, as a multiple of their learning rate."""
    opacity_weight: float = 0.01
    """Weight of the mean opacity in the loss."""
    scale_weight: float = 0.01
    """Weight of the mean scale, world units, in the loss."""

    def __post_init__(self) -> None:
        if self.max_gaussians < 1 or self.refine_every < 1:
            raise ValueError(
                f"`max_gaussians` and `refine_every` must be at least 1, "
                f"got {self.max_gaussians} and {self.refine_every}."
            )
        if not 0 < self.min_opacity < 1:
            raise ValueError(f"`min_opacity` must be in (0, 1), got {self.min_opacity}.")


class McmcStrategy:
    """Relocation, growth and noise of Kheradmand et al., "3DGS as MCMC", 2024."""

    needs_screen_gradient = False
    needs_absgrad = False

    def __init__(self, config: McmcConfig, *, seed: int = 0) -> None:
        self.config = config
        self._seed = seed
        self._random = Randomness(seed)

    def initialize_state(self, num: int) -> None:
        """Start the random sequence again; nothing is kept per Gaussian."""
        self._random = Randomness(self._seed)

    @torch.no_grad()
    def add_regularization(self, params: Parameters) -> None:
        """Adds the gradients of opacity_weight * mean(o) + scale_weight * mean(s)."""
        logits, log_scales = params["logit_opacities"], params["log_scales"]
        if self.config.opacity_weight and logits.grad is not None:
            opacity = torch.sigmoid(logits)
            weight = self.config.opacity_weight / max(logits.numel(), 1)
            logits.grad.add_(torch.addcmul(opacity, opacity, opacity, value=-1), alpha=weight)
        if self.config.scale_weight and log_scales.grad is not None:
            weight = self.config.scale_weight / max(log_scales.numel(), 1)
            log_scales.grad.add_(log_scales.exp(), alpha=weight)

    @torch.no_grad()
    def step_post_backward(
        self,
        params: Parameters,
        optimizer: Optimizer,
        *,
        step: int,
        progress: float,
        info: StepInfo,
    ) -> Refinement | None:
        """Refines when it is time, then adds noise to the means; see `Strategy`."""
        config = self.config
        refinement = None
        due = step > 0 and step % config.refine_every == 0
        if due and config.refine_start <= progress < config.refine_stop and len(params) > 0:
            num_relocated = self._relocate(params, optimizer)
            num_added = self._grow(params, optimizer, self._num_wanted(len(params), step, progress))
            refinement = Refinement(num_added=num_added, num_relocated=num_relocated)
        if config.noise:
            normals = self._random.normals(len(params), like=params["means"])
            add_position_noise(params, normals, scale=config.noise * info.means_learning_rate)
        return refinement

    def state_dict(self) -> dict[str, Any]:
        """The state of the random sequence."""
        return {"random": self._random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._random.set_state(state["random"])

    def _num_wanted(self, num: int, step: int, progress: float) -> int:
        """Size after this refinement: geometric growth that reaches the cap at `full_at`."""
        factor = 1 + self.config.growth
        if progress > 0 and num < self.config.max_gaussians:
            steps_left = (self.config.full_at - progress) / progress * step
            refinements_left = max(steps_left / self.config.refine_every, 1.0)
            factor = max(factor, (self.config.max_gaussians / num) ** (1 / refinements_left))
        return min(self.config.max_gaussians, math.ceil(num * factor))

    def _relocate(self, params: Parameters, optimizer: Optimizer) -> int:
        """Moves every dead Gaussian onto a live one drawn by opacity; returns how many."""
        opacities = torch.sigmoid(params["logit_opacities"])
        # Not `o <= min`: a NaN opacity is dead too.
        is_dead = ~(opacities > self.config.min_opacity)
        dead = is_dead.nonzero().flatten()
        if len(dead) == 0 or len(dead) == len(params):
            return 0
        chosen = self._random.sample(torch.where(is_dead, 0.0, opacities), len(dead))
        sources, shares = self._shared_out(params, chosen)
        params.replace(sources, shares, optimizer)
        params.replace(dead, params.rows(chosen), optimizer)
        return len(dead)

    def _grow(self, params: Parameters, optimizer: Optimizer, wanted: int) -> int:
        """Adds copies of Gaussians drawn by opacity until there are `wanted`; returns how many."""
        num = wanted - len(params)
        if num <= 0:
            return 0
        chosen = self._random.sample(torch.sigmoid(params["logit_opacities"]), num)
        sources, shares = self._shared_out(params, chosen)
        params.replace(sources, shares, optimizer, keep_moments=True)
        params.append(params.rows(chosen), optimizer)
        return num

    @staticmethod
    def _shared_out(params: Parameters, chosen: Tensor) -> tuple[Tensor, Rows]:
        """The distinct rows in `chosen` and what each becomes when it is shared among its copies.

        A row drawn n times is replaced by n + 1 coincident Gaussians that look like it.
        """
        sources, counts = torch.unique(chosen, return_counts=True)
        values = params.rows(sources)
        opacities, scales = relocated(
            torch.sigmoid(values.logit_opacities).clamp(max=MAX_OPACITY),
            values.log_scales.exp(),
            counts + 1,
        )
        return sources, replace(
            values, logit_opacities=torch.logit(opacities), log_scales=scales.log()
        )
