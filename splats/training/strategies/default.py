"""Adaptive density control: Gaussians that the image pulls at are cloned or split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from captures import ensure_shape

from ..parameters import Parameters, Rows
from .noise import rotate
from .randomness import Randomness
from .strategy import Refinement, StepInfo


@dataclass(frozen=True)
class DefaultConfig:
    """Settings of `DefaultStrategy`; times are shares of the training budget."""

    max_gaussians: int = 1_000_000
    """The set grows up to this many Gaussians; the highest gradients grow first."""
    refine_every: int = 100
    """Steps between refinements."""
    refine_start: float = 0.017
    """Progress at which refinement starts (the paper: step 500 of 30,000)."""
    refine_stop: float = 0.5
    """Progress at which refinement and opacity resets stop (the paper: step 15,000)."""
    reset_every: float = 0.1
    """Progress between opacity resets (the paper: every 3,000 steps)."""
    reset_min_steps: int = 1500
    """Least steps between opacity resets: they take hundreds of steps to recover from."""
    absgrad: bool = False
    """Judge by the sums of absolute pixel gradients (AbsGS); wants about 4x `grow_gradient`."""
    grow_gradient: float = 2e-4
    """Mean screen gradient, with the screen spanning [-1, 1], above which a Gaussian grows."""
    grow_scale: float = 0.01
    """Gaussians up to this scale, relative to the scene's extent, are cloned, others split."""
    prune_opacity: float = 0.005
    """Gaussians below this opacity are removed; resets lower opacities to twice this value."""
    prune_scale: float = 0.1
    """Gaussians above this scale, relative to the extent, are removed after the first reset."""

    def __post_init__(self) -> None:
        if self.max_gaussians < 1 or self.refine_every < 1:
            raise ValueError(
                f"`max_gaussians` and `refine_every` must be at least 1, "
                f"got {self.max_gaussians} and {self.refine_every}."
            )
        if not 0 < self.prune_opacity < 0.5:
            raise ValueError(f"`prune_opacity` must be in (0, 0.5), got {self.prune_opacity}.")


SPLIT_SHRINK = 1.6
"""A split Gaussian's two children have its scales divided by this (Kerbl et al. 2023)."""


class DefaultStrategy:
    """Clone, split, prune and reset of Kerbl et al., "3D Gaussian Splatting", 2023, section 5.

    With `absgrad` as in Ye et al., "AbsGS", 2024; with a cap that the best-scoring candidates
    share as in Mallick et al., "Taming 3DGS", 2024.
    """

    def __init__(self, config: DefaultConfig, *, extent: float, seed: int = 0) -> None:
        """`extent` is the scene's size in world units (`Capture.extent`)."""
        self.config = config
        self._extent = extent
        self._seed = seed
        self.initialize_state(0)

    @property
    def needs_screen_gradient(self) -> bool:
        """Always: the gradient decides which Gaussians grow."""
        return True

    @property
    def needs_absgrad(self) -> bool:
        """As configured."""
        return self.config.absgrad

    def initialize_state(self, num: int) -> None:
        """Start afresh with `num` Gaussians, no statistics and the first random numbers."""
        self._random = Randomness(self._seed)
        self._last_reset_step = 0
        self._num_resets = 0
        self._clear_statistics(num)

    def add_regularization(self, params: Parameters) -> None:
        """This strategy has no regularizers."""

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
        """Gathers screen gradients; refines and resets opacities when it is time."""
        config = self.config
        if progress >= config.refine_stop:
            return None
        self._gather(info)
        refinement = None
        if step > 0 and step % config.refine_every == 0 and progress >= config.refine_start:
            num_added = self._grow(params, optimizer)
            num_removed = self._prune(params, optimizer)
            self._clear_statistics(len(params), params["means"].device)
            refinement = Refinement(num_added=num_added, num_removed=num_removed)
        due = progress >= config.reset_every * (self._num_resets + 1)
        if due and step - self._last_reset_step >= config.reset_min_steps:
            self._reset_opacities(params, optimizer)
            self._last_reset_step = step
            self._num_resets = int(progress / config.reset_every)
        return refinement

    def state_dict(self) -> dict[str, Any]:
        """Gradient statistics, times of resets and the state of the random sequence."""
        return {
            "random": self._random.get_state(),
            "gradient_sums": self._gradient_sums.clone(),
            "counts": self._counts.clone(),
            "last_reset_step": self._last_reset_step,
            "num_resets": self._num_resets,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._random.set_state(state["random"])
        self._gradient_sums = state["gradient_sums"].clone()
        self._counts = state["counts"].clone()
        self._last_reset_step = state["last_reset_step"]
        self._num_resets = state["num_resets"]

    def _clear_statistics(self, num: int, device: torch.device | str = "cpu") -> None:
        self._gradient_sums = torch.zeros(num, device=device)
        self._counts = torch.zeros(num, device=device)

    def _gather(self, info: StepInfo) -> None:
        """Adds the lengths of the screen gradients of the Gaussians that each camera saw."""
        gradient = info.screen_gradient
        if gradient is None:
            raise ValueError(
                "`info.screen_gradient` must be given to DefaultStrategy, got None; call "
                '`meta["means2d"].retain_grad()` before backward.'
            )
        num = len(self._counts)
        hint = "one row per Gaussian; call `initialize_state(num)` before the first step."
        ensure_shape("info.screen_gradient", gradient, ("C", num, 2), hint)
        num_cameras = len(gradient)
        half_size = gradient.new_tensor([info.width, info.height]) / 2
        seen = (info.radii > 0).all(dim=-1)
        lengths = (gradient * half_size * num_cameras).norm(dim=-1)
        self._gradient_sums = self._gradient_sums.to(lengths) + (lengths * seen).sum(0)
        self._counts = self._counts.to(lengths) + seen.sum(0)

    def _grow(self, params: Parameters, optimizer: Optimizer) -> int:
        """Clones small and splits large candidates, the best first; returns how many were added."""
        score = self._gradient_sums / self._counts.clamp(min=1)
        candidates = (score > self.config.grow_gradient).nonzero().flatten()
        room = max(self.config.max_gaussians - len(params), 0)
        if len(candidates) > room:
            order = torch.sort(score[candidates], descending=True, stable=True).indices
            candidates = candidates[order[:room]].sort().values
        largest = params["log_scales"][candidates].amax(dim=1).exp()
        is_small = largest <= self.config.grow_scale * self._extent
        cloned, split = candidates[is_small], candidates[~is_small]
        added = params.rows(cloned)
        first, second = self._children(params.rows(split)), self._children(params.rows(split))
        params.replace(split, first, optimizer)
        params.append(added, optimizer)
        params.append(second, optimizer)
        return len(candidates)

    def _children(self, parents: Rows) -> Rows:
        """One smaller Gaussian per parent, at a place drawn from the parent's density."""
        normals = self._random.normals(len(parents), like=parents.means)
        offset = rotate(parents.quats, normals * parents.log_scales.exp())
        shrunk = parents.log_scales - torch.tensor(SPLIT_SHRINK).log().to(parents.log_scales)
        return replace(parents, means=parents.means + offset, log_scales=shrunk)

    def _prune(self, params: Parameters, optimizer: Optimizer) -> int:
        """Removes transparent, huge and non-finite Gaussians; returns how many."""
        # Comparisons are written so that a NaN fails them.
        healthy = torch.sigmoid(params["logit_opacities"]) >= self.config.prune_opacity
        for _, param in params.items():
            healthy &= _is_finite_row(param)
        if self._num_resets > 0:
            largest = params["log_scales"].amax(dim=1).exp()
            healthy &= largest <= self.config.prune_scale * self._extent
        num_removed = len(params) - int(healthy.sum())
        if num_removed > 0:
            params.keep(healthy.nonzero().flatten(), optimizer)
        return num_removed

    def _reset_opacities(self, params: Parameters, optimizer: Optimizer) -> None:
        ceiling = torch.logit(torch.tensor(2 * self.config.prune_opacity)).item()
        params["logit_opacities"].clamp_(max=ceiling)
        params.reset_moments("logit_opacities", optimizer)


def _is_finite_row(param: Tensor) -> Tensor:
    return torch.isfinite(param).flatten(1).all(dim=1) if param.dim() > 1 else torch.isfinite(param)
