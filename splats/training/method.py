"""`fieldwright train splats`: Gaussians from posed photos."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from captures import Capture, Renderable
from captures.evaluation import preview_scores

from ..formats import save
from ..formats.fwa import FwaOptions
from ..gaussians import Gaussians
from ..rasterizer import rasterization
from ..scene import SplatScene, near_plane
from .config import SplatsConfig
from .corrections import ExposureCorrection, PoseCorrection
from .initialization import initial_gaussians
from .kernels import native_kernels, one_torch_thread
from .losses import photometric_loss
from .optimizer import SelectiveAdam
from .parameters import NAMES, Parameters
from .parametrization import Activation, Parametrization, Pinhole
from .pixel_size import pixel_size
from .sampling import Target, Targets, ViewOrder
from .strategies import (
    DefaultConfig,
    DefaultStrategy,
    McmcConfig,
    McmcStrategy,
    StepInfo,
    Strategy,
)

_MEASURED_VIEWS = 32
"""Views that say how long a pixel is."""

logger = logging.getLogger(__name__)


class SplatsMethod:
    """Trains Gaussians on one capture; implements `runs.Trainee`."""

    Config = SplatsConfig

    @classmethod
    def create(
        cls, config: SplatsConfig, capture: Capture, *, device: torch.device, seed: int
    ) -> SplatsMethod:
        """A fresh trainee whose settings are completed from the capture.

        Raises:
            ValueError: nothing to train on, or settings that the capture cannot serve.
        """
        capture.require_training_photos()
        return cls(_completed(config, capture), capture, device=device, seed=seed)

    def __init__(
        self, config: SplatsConfig, capture: Capture, *, device: torch.device, seed: int
    ) -> None:
        self.config, self.capture, self.device, self.seed = config, capture, device, seed
        capture.preload(capture.train)
        start = initial_gaussians(capture, config, seed=seed)
        if config.max_gaussians is not None and len(start) > config.max_gaussians:
            generator = torch.Generator().manual_seed(seed)
            start = start[torch.randperm(len(start), generator=generator)[: config.max_gaussians]]
        self._measure(start)
        self.params = Parameters(_on(start, device), self._extra_rows(len(start)))
        self.optimizer = self._optimizer()
        self.strategy = make_strategy(config, capture, seed)
        self.strategy.initialize_state(len(self.params))
        self.parametrization = self._parametrization()
        self._order = ViewOrder(len(capture.train), seed=seed)
        self._targets = Targets(capture, device)
        self._backgrounds = torch.Generator().manual_seed(seed + 1)
        self._exposure = self._poses = None
        corrections = []
        if config.exposure:
            self._exposure = ExposureCorrection(len(capture.train)).to(device)
            corrections.append({"params": self._exposure.parameters(), "lr": 1e-3})
        if config.refine_poses:
            self._poses = PoseCorrection(len(capture.train)).to(device)
            corrections.append({"params": self._poses.parameters(), "lr": 1e-4})
        self._corrections = torch.optim.Adam(corrections) if corrections else None

    def _parametrization(self) -> Parametrization:
        """How this method's parameters become what is rendered."""
        return Activation(self.config.sh_degree)

    def _extra_rows(self, num: int) -> dict[str, Tensor]:
        """What this method trains per Gaussian besides the fields of `Gaussians`, at the start."""
        return {}

    def _measure(self, start: Gaussians) -> None:
        """Lengths that hold for the whole training: the near plane and what `lr_means` counts."""
        self._near_plane, self._means_unit = near_plane(start), self.capture.extent
        if self.config.means_unit == "pixel":
            train = self.capture.train
            seen = list(train[:: -(-len(train) // _MEASURED_VIEWS)])
            self._means_unit = pixel_size(start, self.capture.cameras[seen])

    def _learning_rates(self) -> dict[str, float]:
        """By parameter, at the start."""
        config = self.config
        return {
            "means": config.lr_means,
            "quats": config.lr_quats,
            "log_scales": config.lr_scales,
            "logit_opacities": config.lr_opacities,
            "sh0": config.lr_sh0,
            "shN": config.lr_shN,
        }

    def _optimizer(self) -> SelectiveAdam:
        """One group per parameter; the first holds the means, whose rate decays."""
        rates = self._learning_rates()
        groups = [{"params": [param], "lr": rates[name]} for name, param in self.params.items()]
        return SelectiveAdam(groups, eps=1e-15)

    # ------------------------------------------------------------------------------ training

    def step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        """One image: render, compare, descend, refine."""
        if self.device.type == "cpu" and native_kernels() is not None:
            with one_torch_thread():
                return self._step(step, progress)
        return self._step(step, progress)

    def _step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        position = self._order.next()
        target = self._targets(position, 2 if progress < self.config.coarse_until else 1)
        lr_means = self._set_learning_rates(progress)
        image, meta, background = self._render(position, target, progress)
        truth = target.image
        if target.alpha is not None:
            truth = truth + (1 - target.alpha) * background
        loss, l1, _ = photometric_loss(
            image, truth, ssim_weight=self.config.ssim_weight, mask=target.mask
        )
        penalty = self.parametrization.penalty(self.params, progress=progress)
        if penalty is not None:
            loss = loss + penalty
        loss.backward()
        self.strategy.add_regularization(self.params)
        radii = meta["radii"]
        self.optimizer.step(radii[0, :, 0] > 0)
        if self._corrections is not None:
            self._corrections.step()
            self._corrections.zero_grad(set_to_none=True)
        info = StepInfo(
            radii=radii,
            width=meta["width"],
            height=meta["height"],
            means_learning_rate=lr_means,
            screen_gradient=self._screen_gradient(meta["means2d"]),
        )
        self.optimizer.zero_grad(set_to_none=True)
        self.strategy.step_post_backward(
            self.params, self.optimizer, step=step, progress=progress, info=info
        )
        self.parametrization.step(self.params, self.optimizer, step=step, progress=progress)
        return {"loss": loss.detach(), "l1": l1}

    def _render(
        self, position: int, target: Target, progress: float
    ) -> tuple[Float[Tensor, "H W 3"], dict[str, Any], Float[Tensor, "3"]]:
        """The image of a training view, the rasteriser's meta and the background used."""
        viewmat = target.viewmat
        if self._poses is not None:
            viewmat = self._poses(viewmat[0], position)[None]
        background = self._background(target)
        height, width = target.image.shape[:2]
        view = Pinhole(viewmat[0], target.K[0], width, height)
        shown = self.parametrization.attributes(self.params, view=view, progress=progress)
        images, _, meta = rasterization(
            shown.means,
            shown.quats,
            shown.scales,
            shown.opacities,
            shown.colors,
            viewmat,
            target.K,
            width,
            height,
            sh_degree=shown.sh_degree,
            sh_rest=shown.sh_rest,
            near_plane=self._near_plane,
            backgrounds=background[None],
            absgrad=self.strategy.needs_absgrad,
            rasterize_mode="antialiased" if self.config.antialiased else "classic",
            packed=False,
        )
        if self.strategy.needs_screen_gradient:
            meta["means2d"].retain_grad()
        image = images.squeeze(0)  # unlike images[0] a view in backward, too
        if self._exposure is not None:
            image = self._exposure(image, position)
        return image, meta, background

    def _screen_gradient(self, means2d: Tensor) -> Tensor | None:
        if not self.strategy.needs_screen_gradient:
            return None
        return means2d.absgrad if self.strategy.needs_absgrad else means2d.grad  # pyright: ignore[reportAttributeAccessIssue]

    def _background(self, target: Target) -> Float[Tensor, "3"]:
        kind = self.config.background
        if kind == "auto":
            kind = "black" if target.alpha is None else "random"
        if kind == "random":
            return torch.rand(3, generator=self._backgrounds).to(self.device)
        return torch.full((3,), float(kind == "white"), device=self.device)

    def _set_learning_rates(self, progress: float) -> float:
        """Log-linear decay of the centers' rate; returns it."""
        config = self.config
        decay = config.lr_means_final / config.lr_means
        rate = config.lr_means * self._means_unit * decay**progress
        self.optimizer.param_groups[0]["lr"] = rate
        return rate

    # ------------------------------------------------------------------- what a run asks for

    @property
    def num_primitives(self) -> int:
        """Number of Gaussians."""
        return len(self.params)

    def preview(self) -> dict[str, float]:
        """Mean PSNR over a few held-out views, on the background that `eval` takes."""
        return preview_scores(self.renderable(), self.capture, setting=self.config.background)

    def gaussians(self) -> Gaussians:
        """The scene so far, detached, in the capture's frame."""
        return self.parametrization.gaussians(self.params)

    def renderable(self) -> Renderable:
        """The current scene in the capture's frame; it changes as training goes on."""
        return SplatScene(self.gaussians(), antialiased=self.config.antialiased)

    def save_scene(self, path: Path) -> Path:
        """Write the Gaussians in the frame of the source: an exact asset, and PLY beside it."""
        gaussians = _on(self.gaussians(), torch.device("cpu"))
        gaussians = gaussians.transformed(self.capture.T_source_capture)
        antialiased = self.config.antialiased
        save(gaussians, path.with_suffix(".ply"), overwrite=True, antialiased=antialiased)
        made = {
            "method": "splats",
            "capture": self.capture.source.name,
            "split": self.capture.split,
        }
        asset, exact = path.with_suffix(".fwa"), FwaOptions(lossless=True, provenance=made)
        save(gaussians, asset, options=exact, overwrite=True, antialiased=antialiased)
        return asset

    def state_dict(self) -> dict[str, Any]:
        """Everything the continuation depends on."""
        state: dict[str, Any] = {
            "params": {name: param.detach() for name, param in self.params.items()},
            "optimizer": {
                name: self.optimizer.state[param]
                for name, param in self.params.items()
                if param in self.optimizer.state
            },
            "strategy": self.strategy.state_dict(),
            "parametrization": self.parametrization.state_dict(),
            "order": self._order.state_dict(),
            "backgrounds": self._backgrounds.get_state(),
        }
        for name, module in (("exposure", self._exposure), ("poses", self._poses)):
            if module is not None:
                state[name] = module.state_dict()
        if self._corrections is not None:
            state["corrections"] = self._corrections.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        stored = {name: value.to(self.device) for name, value in state["params"].items()}
        own = Gaussians(**{name: stored.pop(name) for name in NAMES})
        self.params = Parameters(own, stored)
        self.optimizer = self._optimizer()
        for name, moments in state["optimizer"].items():
            self.optimizer.state[self.params[name]] = {
                key: value.clone() if key == "step" else value.to(self.device).clone()
                for key, value in moments.items()
            }
        self.strategy.initialize_state(len(self.params))
        self.strategy.load_state_dict(state["strategy"])
        self.parametrization.load_state_dict(state["parametrization"])
        self._order.load_state_dict(state["order"])
        self._backgrounds.set_state(state["backgrounds"])
        for name, module in (("exposure", self._exposure), ("poses", self._poses)):
            if module is not None:
                module.load_state_dict(state[name])
        if self._corrections is not None:
            self._corrections.load_state_dict(state["corrections"])


def _completed(config: SplatsConfig, capture: Capture) -> SplatsConfig:
    """`config` with what it leaves to the capture filled in."""
    if config.max_gaussians is not None:
        return config
    count = most_gaussians(config, capture)
    logger.info("Up to %d Gaussians (%.2g per pixel).", count, config.gaussians_per_pixel)
    return replace(config, max_gaussians=count)


def most_gaussians(config: SplatsConfig, capture: Capture) -> int:
    """`max_gaussians`, or what `gaussians_per_pixel` makes of it."""
    if config.max_gaussians is not None:
        return config.max_gaussians
    pixels = capture.cameras.width * capture.cameras.height
    return max(1000, round(config.gaussians_per_pixel * pixels))


def make_strategy(config: SplatsConfig, capture: Capture, seed: int) -> Strategy:
    """The strategy that `config` names, for a capture of this extent."""
    assert config.max_gaussians is not None
    if config.strategy == "mcmc":
        mcmc = McmcConfig(
            max_gaussians=config.max_gaussians,
            refine_every=config.refine_every,
            noise=config.noise,
            opacity_weight=config.opacity_weight,
            scale_weight=config.scale_weight,
        )
        return McmcStrategy(mcmc, seed=seed)
    default = DefaultConfig(
        max_gaussians=config.max_gaussians,
        refine_every=config.refine_every,
        grow_gradient=config.grow_gradient,
        absgrad=config.absgrad,
    )
    return DefaultStrategy(default, extent=capture.extent, seed=seed)


def _on(gaussians: Gaussians, device: torch.device) -> Gaussians:
    return Gaussians(**{name: getattr(gaussians, name).to(device) for name in NAMES})
