"""`fieldwright train compact3d`: k-means codebooks inside training.

Reference: Navaneet et al., "CompGS: Smaller and Faster Gaussian Splatting with Vector
Quantization" (Compact3D), ECCV 2024. All schedules are shares of the budget; the paper's are in
steps of 30,000. Its own has 4096 codes, 512 for the view-dependent color, and begins to quantize
half-way, with a new assignment every 100 steps: after each one the scene has to adapt, for which a
short training has no time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from ..gaussians import Gaussians
from ..training.method import SplatsMethod
from ..training.parameters import Parameters
from ..training.parametrization import Attributes, Pinhole, scheduled_degree
from ..training.strategies import McmcStrategy
from .codebooks import Codebook
from .compact3d_file import write
from .high_rates import HighRatesConfig

ATTRIBUTES = ("sh0", "shN", "log_scales", "quats")
"""What has a codebook, in the order of the paper."""
_MIN_OPACITY = 0.005


@dataclass(frozen=True)
class Compact3dConfig(HighRatesConfig):
    """The settings of plain splats, and the codebooks'."""

    codes: int = 8192
    """Codes of base color, scale and rotation each."""
    codes_sh: int = 1024
    """Codes of the view-dependent color."""
    quantize_from: float = 0.85
    """Share of the budget after which the codebooks are in use; the paper's is 0.5."""
    assign_until: float = 25 / 30
    """Share of the budget after which Gaussians keep the codes that they have."""
    assign_every: int = 100
    """Steps between new assignments."""
    iterations: int = 10
    """Lloyd's iterations per assignment."""
    opacity_penalty: float = 1e-7
    """Weight of the sum of opacities in the loss while transparent Gaussians are pruned."""
    prune_from: float = 15 / 30
    """Share of the budget from which they are pruned."""
    prune_until: float = 20 / 30
    """Share of the budget until which they are pruned."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= min(self.codes, self.codes_sh) <= max(self.codes, self.codes_sh) <= 1 << 16:
            raise ValueError(
                f"`codes` and `codes_sh` must be 2 to 65536, got {self.codes}, {self.codes_sh}."
            )
        if self.assign_every < 1 or self.iterations < 1:
            raise ValueError("`assign_every` and `iterations` must be at least 1.")


class Compact3dParametrization:
    """Attributes as their codes; a `training.parametrization.Parametrization`."""

    def __init__(self, config: Compact3dConfig, *, seed: int) -> None:
        self.config = config
        sizes = {name: config.codes_sh if name == "shN" else config.codes for name in ATTRIBUTES}
        self.codebooks = {name: Codebook(size, seed=seed) for name, size in sizes.items()}

    @property
    def quantizing(self) -> bool:
        """Whether the codebooks are in use."""
        return self.codebooks["quats"].codes is not None

    def attributes(self, params: Parameters, *, view: Pinhole, progress: float) -> Attributes:
        """See `Parametrization`."""
        shown = {name: self._shown(params[name], name) for name in ATTRIBUTES}
        return Attributes(
            means=params["means"],
            quats=shown["quats"],
            scales=shown["log_scales"].exp(),
            opacities=params["logit_opacities"].sigmoid(),
            colors=shown["sh0"],
            sh_rest=shown["shN"],
            sh_degree=scheduled_degree(self.config.sh_degree, progress),
        )

    def penalty(self, params: Parameters, *, progress: float) -> Tensor | None:
        """The sum of opacities, while transparent Gaussians are pruned (sec. 3.3)."""
        if not self._pruning(progress):
            return None
        return self.config.opacity_penalty * params["logit_opacities"].sigmoid().sum()

    def step(self, params: Parameters, optimizer: Optimizer, *, step: int, progress: float) -> None:
        """Codes follow their members; from time to time members choose again."""
        due = (step + 1) % self.config.assign_every == 0
        if due and self._pruning(progress):
            opaque = params["logit_opacities"].detach().sigmoid() >= _MIN_OPACITY
            if opaque.any() and not opaque.all():
                params.keep(opaque.nonzero().flatten(), optimizer)
        if progress < self.config.quantize_from:
            return
        members = self.codebooks["quats"].indices
        if members is None or len(members) != len(params):
            self.assign(params)
        elif due and progress < self.config.assign_until:
            self.assign(params)
        else:
            for name, codebook in self._used(params):
                codebook.follow(_rows(params[name].detach()))

    def assign(self, params: Parameters) -> None:
        """Lloyd's iterations of all codebooks."""
        for name, codebook in self._used(params):
            codebook.assign(_rows(params[name].detach()), iterations=self.config.iterations)

    def gaussians(self, params: Parameters) -> Gaussians:
        """The scene as the codes show it."""
        with torch.no_grad():
            shown = {name: self._shown(params[name], name).detach() for name in ATTRIBUTES}
        return replace(params.detached(), **shown)

    def state_dict(self) -> dict[str, Any]:
        """See `Parametrization`."""
        return {name: codebook.state_dict() for name, codebook in self.codebooks.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Parametrization`."""
        for name, codebook in self.codebooks.items():
            codebook.load_state_dict(state[name])

    def _shown(self, values: Tensor, name: str) -> Tensor:
        codebook = self.codebooks[name]
        if codebook.codes is None or codebook.indices is None:
            return values
        if len(codebook.indices) != len(values):  # between a change of size and the next step
            return values
        return codebook.quantized(_rows(values)).reshape(values.shape)

    def _used(self, params: Parameters) -> list[tuple[str, Codebook]]:
        """The codebooks of the attributes that have any values."""
        return [(name, book) for name, book in self.codebooks.items() if params[name].numel()]

    def _pruning(self, progress: float) -> bool:
        return self.config.prune_from <= progress < self.config.prune_until


class Compact3dMethod(SplatsMethod):
    """Trains the method of the paper; implements `runs.Trainee`."""

    Config = Compact3dConfig
    config: Compact3dConfig
    parametrization: Compact3dParametrization

    def _parametrization(self) -> Compact3dParametrization:
        return Compact3dParametrization(self.config, seed=self.seed)

    def _step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        begun = progress >= min(self.config.prune_from, self.config.quantize_from)
        if begun and isinstance(self.strategy, McmcStrategy):
            # What is pruned does not grow again.
            self.strategy.config = replace(self.strategy.config, max_gaussians=len(self.params))
        return super()._step(step, progress)

    def save_scene(self, path: Path) -> Path:
        """Write `scene.fwa`, codebooks included, in the frame of the source."""
        if not self.parametrization.quantizing:
            self.parametrization.assign(self.params)
        return write(
            self.params.detached(),
            self.parametrization.codebooks,
            path.with_name("scene.fwa"),
            T_source_capture=self.capture.T_source_capture,
            antialiased=self.config.antialiased,
        )


def _rows(values: Tensor) -> Float[Tensor, "N dim"]:
    return values.flatten(1)
