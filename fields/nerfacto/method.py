"""`fieldwright train nerfacto`: hash grids and proposals from posed photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captures import Capture
from captures.evaluation import preview_scores
from splats.training.optimizer import SelectiveAdam

from ..scene import FieldScene
from ..training import RayBatches, random_background
from .config import NerfactoConfig
from .files import save_nerfacto
from .losses import distortion_loss, interlevel_loss
from .model import Nerfacto
from .poses import PoseDeltas

_PREVIEW_VIEWS = 2
_ANNEAL_UNTIL = 0.05
"""Share of the budget over which the proposals' weights come into force."""
_ANNEAL_SLOPE = 10.0
_SELDOM_FROM = 0.15
"""Share of the budget after which proposals learn every fifth step only."""
_SELDOM = 5
_PLAIN = 0.5
"""Share of the rays without a look of their own."""
_POSES_FROM = 0.1
"""Share of the budget after which poses are corrected, at full rate from twice this share on."""
_BETAS = (0.9, 0.99)


class NerfactoMethod:
    """Trains a nerfacto field on one capture; implements `runs.Trainee`.

    Reference: Tancik et al., "Nerfstudio: A Modular Framework for Neural Radiance Field
    Development", 2023, section 4.
    """

    Config = NerfactoConfig

    @classmethod
    def create(
        cls, config: NerfactoConfig, capture: Capture, *, device: torch.device, seed: int
    ) -> NerfactoMethod:
        """A fresh trainee.

        Raises:
            ValueError: Nothing to train on.
        """
        capture.require_training_photos()
        return cls(config, capture, device=device, seed=seed)

    def __init__(
        self, config: NerfactoConfig, capture: Capture, *, device: torch.device, seed: int
    ) -> None:
        self.config, self.capture, self.device = config, capture, device
        capture.preload(capture.train)
        self._batches = RayBatches(capture, config.rays, seed=seed)
        self._random = torch.Generator().manual_seed(seed + 1)
        transparent = capture.view(capture.train[0]).alpha is not None
        opaque = config.background == "auto" and not transparent
        start = torch.Generator().manual_seed(seed + 2)
        model = Nerfacto(config, len(capture.train), opaque=opaque, generator=start)
        self.model = model.to(device)
        self.poses = PoseDeltas(len(capture.train)).to(device) if config.refine_poses else None
        self._optimizers = _Optimizers(self.model, self.poses, config)
        self._waited = 0

    # ------------------------------------------------------------------------------ training

    def step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        """One batch of rays: sample, draw, compare, descend."""
        del step
        config = self.config
        self._optimizers.set_rates(progress)
        batch = self._batches.next()
        images = batch.images.to(self.device)
        rays = batch.rays.to(self.device)
        if self.poses is not None:
            rays = self.poses(rays, images)
        trained = self._proposals_are_due(progress)
        # Held-out views have the mean look, so that half of the rays are learned with it. Looks
        # alone would explain each photo's mean color sooner than the scene does.
        plain = (torch.rand(len(rays), generator=self._random) < _PLAIN).to(self.device)
        found, levels = self.model.trace(
            rays,
            images=images.masked_fill(plain, -1),
            trained=trained,
            anneal=_anneal(progress),
            jitter=self._random,
        )
        background = random_background(config.background, batch, generator=self._random)
        truth = batch.over(background).to(self.device)
        error = (found.over(background.to(self.device)) - truth).square().mean()
        last = levels[-1]
        loss = error + config.distortion_weight * distortion_loss(last.edges, last.weights)
        if trained:
            for level in levels[:-1]:
                missed = interlevel_loss(last.edges, last.weights, level.edges, level.weights)
                loss = loss + config.interlevel_weight * missed
        if self.poses is not None:
            loss = loss + self.poses.penalty()
        loss.backward()
        self._optimizers.step()
        value = error.detach()
        return {"loss": loss.detach(), "psnr": -10 * value.clamp(min=1e-10).log10()}

    def _proposals_are_due(self, progress: float) -> bool:
        """Every step at first, every fifth later: what they say changes slowly then."""
        wait = 1 + (_SELDOM - 1) * min(1.0, progress / _SELDOM_FROM)
        self._waited += 1
        if self._waited < int(wait):
            return False
        self._waited = 0
        return True

    # ------------------------------------------------------------------- what a run asks for

    @property
    def num_primitives(self) -> int:
        """Entries of the field's hash grid."""
        return self.model.num_primitives

    def preview(self) -> dict[str, float]:
        """Mean PSNR over a few held-out views, on the background that `eval` takes."""
        kind = self.config.background
        return preview_scores(self.renderable(), self.capture, setting=kind, views=_PREVIEW_VIEWS)

    def renderable(self) -> FieldScene:
        """The current scene in the capture's frame; it changes as training goes on."""
        return FieldScene(self.model, device=self.device)

    def save_scene(self, path: Path) -> Path:
        """Write the field as an asset in the frame of the source."""
        path = path.with_suffix(".fwa")
        return save_nerfacto(
            self.model, path, T_source_field=self.capture.T_source_capture, overwrite=True
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything the continuation depends on."""
        return {
            "model": dict(self.model.state_dict()),
            "poses": None if self.poses is None else dict(self.poses.state_dict()),
            "optimizers": self._optimizers.state_dict(),
            "batches": self._batches.state_dict(),
            "random": self._random.get_state(),
            "waited": self._waited,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.model.load_state_dict(state["model"])
        if self.poses is not None:
            self.poses.load_state_dict(state["poses"])
        self._optimizers.load_state_dict(state["optimizers"])
        self._batches.load_state_dict(state["batches"])
        self._random.set_state(state["random"])
        self._waited = state["waited"]


class _Optimizers:
    """Adam for grids, which moves only entries that rays met, for networks and for poses."""

    def __init__(self, model: Nerfacto, poses: PoseDeltas | None, config: NerfactoConfig) -> None:
        self._tables = [p for name, p in model.named_parameters() if name.endswith("grid.table")]
        rest = [p for name, p in model.named_parameters() if not name.endswith("grid.table")]
        self._grids = [SelectiveAdam([p], lr=config.lr, betas=_BETAS) for p in self._tables]
        self._networks = torch.optim.Adam(rest, lr=config.lr, betas=_BETAS, eps=1e-15)
        self._poses = None
        if poses is not None:
            self._poses = torch.optim.Adam(poses.parameters(), lr=config.lr_poses, eps=1e-15)
        self._rates = (config.lr, config.lr_poses)
        self._final = config.lr_final

    def _all(self) -> Iterator[torch.optim.Optimizer]:
        yield from self._grids
        yield self._networks
        if self._poses is not None:
            yield self._poses

    def set_rates(self, progress: float) -> None:
        """Log-linear decay of all learning rates."""
        share = self._final**progress
        for optimizer in self._all():
            rate = self._rates[0]
            if optimizer is self._poses:
                rate = self._rates[1] * min(1.0, max(0.0, progress / _POSES_FROM - 1))
            optimizer.param_groups[0]["lr"] = rate * share

    def step(self) -> None:
        """Descend and forget the gradients."""
        for table, optimizer in zip(self._tables, self._grids, strict=True):
            if table.grad is not None:
                optimizer.step((table.grad != 0).any(dim=1))
        for optimizer in self._all():
            if optimizer not in self._grids:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Moments and steps."""
        return {str(i): optimizer.state_dict() for i, optimizer in enumerate(self._all())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        for i, optimizer in enumerate(self._all()):
            optimizer.load_state_dict(state[str(i)])


def _anneal(progress: float) -> float:
    """Exponent of the proposals' weights (Barron et al., "Mip-NeRF 360", 2022, section 3)."""
    share = min(1.0, progress / _ANNEAL_UNTIL)
    return _ANNEAL_SLOPE * share / ((_ANNEAL_SLOPE - 1) * share + 1)
