"""`fieldwright train c3dgs`: masks, a color field, and residual codebooks for shape.

Reference: Lee et al., "Compact 3D Gaussian Representation for Radiance Field", CVPR 2024. All
schedules are shares of the budget; the paper's are in steps of 30,000. Scales are quantized as
logarithms, as in the authors' later dynamic method, so that no sum of codes is negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim import Optimizer

from captures import Similarity
from vq.quantizers import ResidualQuantizer, VectorQuantizer

from ..gaussians import Gaussians
from ..hash_grid import HashGridLayout
from ..rasterizer.backend import ALPHA_THRESHOLD
from ..training.method import SplatsMethod
from ..training.parameters import Parameters
from ..training.parametrization import Attributes, Pinhole
from ..training.strategies import McmcStrategy
from . import masks
from .c3dgs_file import C3dgsModel, Geometry, write
from .c3dgs_scene import C3dgsScene
from .color_field import ColorField
from .high_rates import HighRatesConfig
from .visibility import may_show

_FIELD_DROPS = (0.8, 0.93)  # later than the paper's, as fine levels learn when Gaussians rest
_FIELD_DROP = 0.33
_WARM_UP = 100 / 30_000
_SETTLING = ("log_scales", "quats", "sh0")
"""What `C3dgsConfig.settle` is for."""
_FINEST_CELLS = 4085


@dataclass(frozen=True)
class C3dgsConfig(HighRatesConfig):
    """Of the base, `sh_degree` must stay 0: the field replaces the harmonics."""

    sh_degree: int = 0
    """Always 0."""
    mask_weight: float = 1e-3
    """Weight of the mean mask in the loss, twice the paper's, as masks have fewer steps to act."""
    lr_masks: float = 5e-2
    """Learning rate of the mask logits. At the paper's 1e-2 a mask needs 560 steps that show its
    Gaussian before it is off, a small part of 30,000 steps but not of a few thousand."""
    prune_from: float = 0.5
    """Share of the budget after which masked Gaussians are removed for good; before, the strategy
    takes them for dead."""
    lr_field: float = 1e-2
    """Learning rate of grid and network."""
    base_colors: bool = True
    """Every Gaussian keeps a color of its own, as in Shin et al., "Locality-aware Gaussian
    Compression", 2024, and the field adds harmonics. False leaves all to a field that the direction
    enters, as the paper does: colors then stay behind Gaussians that move, and what depends on the
    view is learned late, which costs most in short trainings."""
    grid_levels: int = 8
    """Resolutions of the hash grid, half of the paper's."""
    log2_entries: int | None = None
    """Entries per resolution, at most 2 to this power; None takes half of `max_gaussians` where
    the field holds all of the color, else a sixth."""
    stages: int = 3
    """Residual codebooks for scales and for rotations; the paper has 6, which spend 36 bits on
    three or four numbers."""
    codes: int = 64
    """Codes per codebook."""
    quantize_from: float = 0.85
    """Share of the budget after which scales and rotations are quantized while training, earlier
    than the paper's 29/30, which leave fifty of 1500 steps to adapt to the codes."""
    settle: float = 0.1
    """Learning rates of scales, rotations and base colors at the end, as a share of those before
    `quantize_from`, from where they fall, so that codes and Gaussians come to rest; 1 in the paper.
    Opacities keep theirs, as masks go on to choose."""
    post_process: bool = True
    """Write `scene.fwa` with 8-bit grid and opacities, sorted and entropy coded; `plain.fwa` beside
    it always goes without."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sh_degree != 0:
            raise ValueError(f"`sh_degree` must be 0 in c3dgs, got {self.sh_degree}.")
        if self.stages < 1 or not 2 <= self.codes <= 256:
            raise ValueError(
                "`stages` must be at least 1 and `codes` 2 to 256, "
                f"got {self.stages} and {self.codes}."
            )
        if not 0 < self.settle <= 1:
            raise ValueError(f"`settle` must be in (0, 1], got {self.settle}.")

    def layout(self) -> HashGridLayout:
        """The hash grid for `max_gaussians`."""
        most = self.max_gaussians or 1_000_000
        entries = self.log2_entries
        if entries is None:
            share = 6 if self.base_colors else 2
            entries = min(max(round(math.log2(most / share)), 8), 19)
        growth = (_FINEST_CELLS / 16) ** (1 / max(self.grid_levels - 1, 1))
        return HashGridLayout(levels=self.grid_levels, log2_entries=entries, growth=growth)


class C3dgsParametrization:
    """What the file of `c3dgs` will show; a `training.parametrization.Parametrization`."""

    def __init__(self, config: C3dgsConfig, start: Gaussians, *, seed: int) -> None:
        self.config = config
        device = start.means.device
        field = ColorField(config.layout(), harmonics=config.base_colors, seed=seed)
        self.field = field.to(device)
        self.optimizer = torch.optim.Adam(self.field.parameters(), lr=config.lr_field, eps=1e-15)
        self.quantizers = nn.ModuleDict(
            {
                name: ResidualQuantizer(
                    [
                        VectorQuantizer(dim, config.codes, iterations=10)
                        for _ in range(config.stages)
                    ]
                )
                for name, dim in (("log_scales", 3), ("quats", 4))
            }
        ).to(device)
        self.quantizing = False
        center = start.means.median(dim=0).values
        radius = (start.means - center).norm(dim=1).quantile(0.9).clamp(min=1e-6)
        self.T_capture_field = Similarity(scale=float(radius), translation=center.double().cpu())

    def attributes(self, params: Parameters, *, view: Pinhole, progress: float) -> Attributes:
        """See `Parametrization`."""
        mask = masks.binary(params[masks.NAME])
        log_scales, quats = params["log_scales"], params["quats"]
        if self.quantizing:
            self.quantizers.train()
            log_scales = self.quantizers["log_scales"](log_scales).values
            quats = self.quantizers["quats"](normalize(quats, dim=-1)).values
        means = params["means"]
        scales = log_scales.exp() * mask[:, None]
        colors = self._colors(means.detach(), scales.detach(), view)[:, None]
        return Attributes(
            means=means,
            quats=quats,
            scales=scales,
            opacities=params["logit_opacities"].sigmoid() * mask,
            colors=colors if not self.config.base_colors else params["sh0"] + colors,
            sh_rest=None,
            sh_degree=0,
        )

    def _colors(
        self, means: Float[Tensor, "N 3"], scales: Float[Tensor, "N 3"], view: Pinhole
    ) -> Float[Tensor, "N 3"]:
        """Coefficients of what the view may show; zero for the rest, which costs no time."""
        shown = may_show(means, scales, view).nonzero().flatten()
        camera = -view.viewmat[:3, :3].T @ view.viewmat[:3, 3]
        directions = normalize(means[shown] - camera.detach(), dim=-1)
        found = self.field(self._places(means[shown]), directions)
        return torch.zeros_like(means).index_copy(0, shown, found)

    def penalty(self, params: Parameters, *, progress: float) -> Tensor | None:
        """The mean mask (eq. 3)."""
        return self.config.mask_weight * params[masks.NAME].sigmoid().mean()

    def step(self, params: Parameters, optimizer: Optimizer, *, step: int, progress: float) -> None:
        """Descend with the field; remove what is masked; begin to quantize."""
        self.optimizer.param_groups[0]["lr"] = self.config.lr_field * _field_rate(progress)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if (step + 1) % self.config.refine_every == 0:
            if progress < self.config.prune_from:
                masks.hide_masked(params)
            else:
                masks.remove_masked(params, optimizer)
        if not self.quantizing and progress >= self.config.quantize_from:
            self.fit(params)

    def fit(self, params: Parameters) -> None:
        """Learn the codebooks from the Gaussians so far."""
        self._quantizer("log_scales").fit(params["log_scales"].detach())
        self._quantizer("quats").fit(normalize(params["quats"].detach(), dim=-1))
        self.quantizing = True

    def gaussians(self, params: Parameters) -> Gaussians:
        """The scene with its color as harmonics of degree 3."""
        return self.model(params).baked()

    @torch.no_grad()
    def model(self, params: Parameters) -> C3dgsModel:
        """What is on and can be seen, as the file will decode it, in the frame of the capture."""
        seen = params["logit_opacities"].detach().sigmoid() >= ALPHA_THRESHOLD
        values = params.detached()[masks.is_on(params) & seen]
        if not self.config.base_colors:
            values = replace(values, sh0=torch.zeros_like(values.sh0))
        geometry = Geometry(values)
        if self.quantizing:
            self.quantizers.eval()
            scales, quats = (self._quantizer(name) for name in ("log_scales", "quats"))
            geometry = Geometry(
                values,
                scale_codes=_codes(scales),
                quat_codes=_codes(quats),
                scale_indices=scales.encode(values.log_scales),
                quat_indices=quats.encode(normalize(values.quats, dim=-1)),
            )
        return C3dgsModel(geometry.decoded(), self.field, self.T_capture_field, geometry)

    def state_dict(self) -> dict[str, Any]:
        """See `Parametrization`."""
        return {
            "field": self.field.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "quantizers": self.quantizers.state_dict(),
            "quantizing": self.quantizing,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Parametrization`."""
        self.field.load_state_dict(state["field"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.quantizers.load_state_dict(state["quantizers"])
        self.quantizing = state["quantizing"]

    def _quantizer(self, name: str) -> ResidualQuantizer:
        found = self.quantizers[name]
        assert isinstance(found, ResidualQuantizer)
        return found

    def _places(self, means: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        return self.T_capture_field.inverse().apply(means)


class C3dgsMethod(SplatsMethod):
    """Trains the method of the paper; implements `runs.Trainee`."""

    Config = C3dgsConfig
    config: C3dgsConfig
    parametrization: C3dgsParametrization

    def _parametrization(self) -> C3dgsParametrization:
        return C3dgsParametrization(self.config, self.params.detached(), seed=self.seed)

    def _extra_rows(self, num: int) -> dict[str, Tensor]:
        return {masks.NAME: torch.full((num,), masks.START, device=self.device)}

    def _learning_rates(self) -> dict[str, float]:
        return super()._learning_rates() | {masks.NAME: self.config.lr_masks}

    def _set_learning_rates(self, progress: float) -> float:
        begin = self.config.quantize_from
        share = max(0.0, (progress - begin) / (1 - begin)) if begin < 1 else 0.0
        rates = self._learning_rates()
        groups = self.optimizer.param_groups
        for group, (name, _) in zip(groups, self.params.items(), strict=True):
            if name in _SETTLING:
                group["lr"] = rates[name] * self.config.settle**share
        return super()._set_learning_rates(progress)

    def _step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        if progress >= self.config.prune_from and isinstance(self.strategy, McmcStrategy):
            # What the masks have removed does not grow again.
            self.strategy.config = replace(self.strategy.config, max_gaussians=len(self.params))
        return super()._step(step, progress)

    def renderable(self) -> C3dgsScene:
        """The current scene through its color field."""
        return C3dgsScene(self.parametrization.model(self.params), self.config.antialiased)

    def save_scene(self, path: Path) -> Path:
        """Write `scene.fwa` and `plain.fwa`, in the frame of the source."""
        if not self.parametrization.quantizing:
            self.parametrization.fit(self.params)
        model = self.parametrization.model(self.params)
        files = {"plain.fwa": False, "scene.fwa": self.config.post_process}
        for name, post_process in files.items():
            write(
                model,
                path.with_name(name),
                T_source_capture=self.capture.T_source_capture,
                antialiased=self.config.antialiased,
                post_process=post_process,
            )
        return path.with_name("scene.fwa")


def _field_rate(progress: float) -> float:
    """Share of the field's learning rate: a linear warm-up, then three drops."""
    drops = sum(progress >= at for at in _FIELD_DROPS)
    return (0.01 + 0.99 * min(progress / _WARM_UP, 1.0)) * _FIELD_DROP**drops


def _codes(quantizer: ResidualQuantizer) -> Float[Tensor, "stages codes dim"]:
    return torch.stack([stage.codebook for stage in quantizer.each_part()])  # pyright: ignore[reportArgumentType]
