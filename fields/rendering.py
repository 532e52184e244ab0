"""The general renderer: any field, any sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from .contract import Field
from .kernels import composite
from .rays import Rays
from .samples import Samples
from .volume import RayColors, render_weights

SHADED_WEIGHT = 1e-4
"""Samples below this share of a pixel are left out."""
_AT_ONCE = 1 << 13
"""Rays whose samples are held at a time."""


@runtime_checkable
class Sampler(Protocol):
    """Chooses where rays are sampled; knows nothing of colours."""

    def sample(self, rays: Rays, *, jitter: torch.Generator | None = None) -> Samples:
        """Intervals on the rays; shifted at random under `jitter`, for training."""
        ...


def render_field(
    field: Field,
    samples: Samples,
    rays: Rays,
    *,
    distortion: bool = False,
) -> RayColors:
    """Density everywhere, colour where it can be seen, blended; differentiable in the field."""
    points = samples.points(rays)
    with torch.no_grad():
        visible = render_weights(field.density(points), samples) > SHADED_WEIGHT
    samples = samples.kept(visible)
    densities, colors = field.density_and_color(points[visible], samples.directions(rays))
    return composite(densities, colors, samples, distortion=distortion)


@dataclass(frozen=True)
class SampledField:
    """A field with a sampler: a `RayRenderer`."""

    field: Field
    """What is drawn."""
    sampler: Sampler
    """Where it is asked."""
    num_bytes: int
    """Size of the parameters, or of the file."""
    num_primitives: int
    """What the field counts itself in."""

    def bounds(self) -> Float[Tensor, "2 3"]:
        """The field's."""
        return self.field.bounds()

    def render_rays(self, rays: Rays) -> RayColors:
        """See `RayRenderer`; some thousand rays at a time."""
        parts = [rays[i : i + _AT_ONCE] for i in range(0, len(rays), _AT_ONCE)]
        seen = [
            render_field(self.field, self.sampler.sample(part), part) for part in parts or [rays]
        ]
        return RayColors.joined(seen)
