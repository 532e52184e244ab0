"""Training for a small file: fewer components, and numbers that bear being rounded.

At some point of a run the components that will not fit the file are left out, by the same rule that
writes it, and training goes on with the rest. From then on every step sees all numbers moved at
random by as much as the file's cells are wide, so that the field settles where that matters least
(additive uniform noise for rounding: Ballé et al., "End-to-end optimized image compression", 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..rays import Rays
from .coding import Weighed, kept_components, scaled_rows, step_for
from .field import TrivecField
from .gauge import with_components
from .sensitivity import measure_sensitivity

OFFSETS = 1 << 16
"""Places in a noise bank at which a step may begin."""


@dataclass(frozen=True)
class Rounding:
    """Widths of the cells that a file will have, in the field's own numbers."""

    vectors: Float[Tensor, "N 3 1 R"]
    """Of the vectors."""
    densities: Float[Tensor, "N R"]
    """Of the density's weights."""
    colors: Float[Tensor, "N K 3 R"]
    """Of the colour's weights."""

    def moved(self, field: TrivecField, bank: Tensor, start: int) -> tuple[Tensor, ...]:
        """Vectors and weights, each number moved within its cell.

        Args:
            field: Whose numbers.
            bank: From `noise_bank`.
            start: Where in the bank to begin, below `OFFSETS`.
        """
        return tuple(
            torch.addcmul(values, width, bank[start : start + values.numel()].view(values.shape))
            for values, width in (
                (field.vectors, self.vectors),
                (field.densities, self.densities),
                (field.colors, self.colors),
            )
        )


def noise_bank(field: TrivecField, seed: int) -> Float[Tensor, "bank"]:
    """Uniform numbers in [-1/2, 1/2), drawn once and used from another place in every step."""
    size = max(field.vectors.numel(), field.colors.numel()) + OFFSETS
    return torch.rand(size, generator=torch.Generator().manual_seed(seed)) - 0.5


@torch.no_grad()
def compacted(
    field: TrivecField,
    batch: Callable[[], Rays],
    *,
    num_bytes: int,
    step: float,
    generator: torch.Generator,
) -> tuple[TrivecField, Rounding]:
    """The field with the components that fit a file, and the cells of that file.

    Args:
        field: Of any rank.
        batch: Rays that matter.
        num_bytes: What the components may take in the file.
        step: Of the renderer.
        generator: Of the rays' random shares.
    """
    weighed = Weighed.of(field, measure_sensitivity(field, batch, step=step, generator=generator))
    picture_step = step_for(weighed, 8.0 * num_bytes)
    width = scaled_rows(weighed, step=picture_step).channels.shape[1] + 3 * field.num_nodes
    keep = kept_components(weighed, step=picture_step, width=width)
    small = with_components(field, weighed.components, keep).subset(keep.any(1))
    again = measure_sensitivity(small, batch, step=step, generator=generator)
    return small, _cells(small, Weighed.of(small, again), picture_step)


def _cells(field: TrivecField, weighed: Weighed, step: float) -> Rounding:
    """Widths in the field's own order and gauge."""
    back = torch.argsort(weighed.components.order, dim=1)
    axes = weighed.axes.gather(1, back)
    lengths = field.vectors.norm(dim=2)
    used = axes > 0
    width = torch.where(used, step / axes.clamp(min=1e-30).sqrt(), 0.0)
    # No wider than the vectors themselves: what is nearly unseen is nearly left out.
    vectors = torch.minimum(width, torch.ones_like(width))[:, None] * lengths
    size = lengths.prod(dim=1).clamp(min=1e-20)
    channels = step / weighed.channels.clamp(min=1e-30).sqrt()
    bound = torch.cat([field.densities[:, None], field.colors.flatten(1, 2)], 1).norm(dim=1)
    weights = torch.minimum(channels[..., None] / size[:, None], bound[:, None])
    weights = weights * used[:, None]
    return Rounding(vectors[:, :, None], weights[:, 0], weights[:, 1:].reshape(field.colors.shape))
