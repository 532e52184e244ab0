"""What a latent passes through: continuous and small, or a few bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vq import Quantizer
from vq.quantizers import FiniteScalarQuantizer, ResidualQuantizer, SimVQ, VectorQuantizer

from .config import Bottleneck, ModelConfig
from .layouts import Part

FSQ_LEVELS = 5
RESIDUAL_STAGES = 4
RESIDUAL_CODES = 256
_MAX_LOG_VARIANCE = 10.0


@dataclass(frozen=True)
class Squeezed:
    """One part of a latent behind its bottleneck."""

    values: Float[Tensor, "B tokens channels"]
    """What the decoder gets: the latent."""
    loss: Float[Tensor, ""]
    """What training adds."""
    bits: Float[Tensor, ""]
    """Ideal bits of all codes of the batch; infinite for continuous latents."""
    indices: Int[Tensor, "B tokens stages"] | None = None
    """Codes, None for continuous latents."""
    mean: Float[Tensor, "B tokens channels"] | None = None
    """Posterior means of a KL bottleneck, else None."""
    log_variance: Float[Tensor, "B tokens channels"] | None = None
    """Posterior log variances of a KL bottleneck, else None."""


class Neck(nn.Module):
    """Projects tokens to a few channels and back; subclasses say what happens between."""

    def __init__(self, part: Part, width: int, *, factor: int = 1) -> None:
        super().__init__()
        self.part = part
        self.inward = nn.Linear(width, factor * part.channels)
        self.outward = nn.Linear(part.channels, width)

    def squeeze(self, features: Float[Tensor, "B tokens width"]) -> Squeezed:
        """Features to the latent."""
        raise NotImplementedError

    def expand(self, values: Float[Tensor, "B tokens channels"]) -> Float[Tensor, "B tokens width"]:
        """The latent to features."""
        return self.outward(values)


class NormalizedNeck(Neck):
    """Layer norm without parameters in, a learned scale and shift per channel out.

    No weight to tune and nothing that can collapse, as in LaGeM (section 3.2). A set is normalized
    over the channels of each vector, as there; planes and grids over all numbers of their map,
    because two numbers normalized by each other would be signs.
    """

    def __init__(self, part: Part, width: int) -> None:
        super().__init__(part, width)
        self.gamma = nn.Parameter(torch.ones(part.channels))
        self.beta = nn.Parameter(torch.zeros(part.channels))

    def squeeze(self, features: Tensor) -> Squeezed:
        """See `Neck`."""
        x = self.inward(features)
        over = x.shape[2:] if self.part.kind == "set" else x.shape[1:]
        values = nn.functional.layer_norm(x, list(over), eps=1e-6)
        return _continuous(values)

    def expand(self, values: Tensor) -> Tensor:
        """See `Neck`."""
        return self.outward(self.gamma * values + self.beta)


class KlNeck(Neck):
    """A Gaussian posterior per number; the loss is its KL divergence from N(0, 1), mean over
    numbers. Samples while training, the mean otherwise."""

    def __init__(self, part: Part, width: int, weight: float) -> None:
        super().__init__(part, width, factor=2)
        self.weight = weight

    def squeeze(self, features: Tensor) -> Squeezed:
        """See `Neck`."""
        mean, log_variance = self.inward(features).chunk(2, dim=-1)
        log_variance = log_variance.clamp(-_MAX_LOG_VARIANCE, _MAX_LOG_VARIANCE)
        values = mean
        if self.training:
            values = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        made = _continuous(values)
        return Squeezed(values, self.weight * divergence, made.bits, None, mean, log_variance)


class QuantizedNeck(Neck):
    """A quantizer of `vq.quantizers` on each token."""

    def __init__(self, part: Part, width: int, make: Callable[[int], Quantizer]) -> None:
        super().__init__(part, width)
        self.quantizer = make(part.channels)

    def squeeze(self, features: Tensor) -> Squeezed:
        """See `Neck`."""
        made = self.quantizer(self.inward(features))
        return Squeezed(made.values, made.loss, made.bits, made.indices)


def _continuous(values: Tensor) -> Squeezed:
    return Squeezed(values, values.new_zeros(()), values.new_full((), torch.inf))


def _quantizer(config: ModelConfig) -> Callable[[int], Quantizer]:
    size = config.codebook
    makers: dict[str, Callable[[int], Quantizer]] = {
        # Plain: no revival, as in the first VQ-VAEs, so that collapse can be seen.
        "vq": lambda dim: VectorQuantizer(dim, size, revive_below=0.0),
        "rotation": lambda dim: VectorQuantizer(dim, size, rotation_trick=True),
        "simvq": lambda dim: SimVQ(dim, size, rotation_trick=True),
        "fsq": lambda dim: FiniteScalarQuantizer([FSQ_LEVELS] * dim),
        "residual": lambda dim: ResidualQuantizer(
            [
                VectorQuantizer(dim, RESIDUAL_CODES, rotation_trick=True, seed=stage)
                for stage in range(RESIDUAL_STAGES)
            ]
        ),
    }
    return makers[config.bottleneck]


BOTTLENECKS: tuple[Bottleneck, ...] = (
    "normalized",
    "kl",
    "vq",
    "simvq",
    "rotation",
    "fsq",
    "residual",
)
"""Every bottleneck by name."""


def make_neck(config: ModelConfig, part: Part, width: int) -> Neck:
    """The bottleneck of one part."""
    if config.bottleneck == "normalized":
        return NormalizedNeck(part, width)
    if config.bottleneck == "kl":
        return KlNeck(part, width, config.kl_weight)
    return QuantizedNeck(part, width, _quantizer(config))
