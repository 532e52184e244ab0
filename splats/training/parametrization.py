"""What stands between the trained parameters and the rasteriser.

Plain splats render their parameters through the usual activations. A compact method renders what
its file will hold instead: masked, quantized or predicted attributes. It is one object with the
methods of `Parametrization`; everything else of the training is shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from ..gaussians import Gaussians
from .parameters import Parameters


@dataclass(frozen=True)
class Pinhole:
    """The camera of a training image."""

    viewmat: Float[Tensor, "4 4"]
    """World to camera."""
    K: Float[Tensor, "3 3"]
    """Intrinsics in pixels."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""


@dataclass(frozen=True)
class Attributes:
    """N Gaussians as the rasteriser takes them, differentiable."""

    means: Float[Tensor, "N 3"]
    """Centers, in the frame of the capture."""
    quats: Float[Tensor, "N 4"]
    """(w, x, y, z), of any length but zero."""
    scales: Float[Tensor, "N 3"]
    """Standard deviations."""
    opacities: Float[Tensor, "N"]
    """In [0, 1]."""
    colors: Float[Tensor, "N K 3"]
    """Coefficients of degree 0, or of all degrees where `sh_rest` is None."""
    sh_rest: Float[Tensor, "N R 3"] | None
    """Coefficients of the higher degrees, apart from degree 0."""
    sh_degree: int
    """Highest degree that is rendered."""


@runtime_checkable
class Parametrization(Protocol):
    """How parameters become Gaussians, what that costs, and how it follows the training."""

    def attributes(self, params: Parameters, *, view: Pinhole, progress: float) -> Attributes:
        """What the next image shows.

        Args:
            params: The Gaussians under training.
            view: What is rendered.
            progress: Spent share of the budget, in [0, 1).
        """
        ...

    def penalty(self, params: Parameters, *, progress: float) -> Tensor | None:
        """A differentiable term that is added to the photometric loss; None for none."""
        ...

    def step(self, params: Parameters, optimizer: Optimizer, *, step: int, progress: float) -> None:
        """Follow a step of training: update own parameters and codebooks, prune rows."""
        ...

    def gaussians(self, params: Parameters) -> Gaussians:
        """The scene so far as ordinary Gaussians, detached."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything the continuation depends on besides the parameters."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        ...


_SH_DEGREE_EVERY = 0.06
"""Share of the budget after which one more degree of view dependence is rendered."""


def scheduled_degree(sh_degree: int, progress: float) -> int:
    """The degree of view dependence that is rendered at `progress`, at most `sh_degree`."""
    return min(sh_degree, int(progress / _SH_DEGREE_EVERY))


class Activation:
    """The parameters themselves: sigmoid opacities, exponential scales, spherical harmonics."""

    def __init__(self, sh_degree: int) -> None:
        self.sh_degree = sh_degree

    def attributes(self, params: Parameters, *, view: Pinhole, progress: float) -> Attributes:
        """See `Parametrization`."""
        return Attributes(
            means=params["means"],
            quats=params["quats"],
            scales=params["log_scales"].exp(),
            opacities=params["logit_opacities"].sigmoid(),
            colors=params["sh0"],
            sh_rest=params["shN"],
            sh_degree=scheduled_degree(self.sh_degree, progress),
        )

    def penalty(self, params: Parameters, *, progress: float) -> Tensor | None:
        """None: there is nothing to pay for."""
        return None

    def step(self, params: Parameters, optimizer: Optimizer, *, step: int, progress: float) -> None:
        """Nothing to follow."""

    def gaussians(self, params: Parameters) -> Gaussians:
        """A detached view of the parameters."""
        return params.detached()

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""
