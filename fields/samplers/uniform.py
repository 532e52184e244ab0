"""Equal steps through a box."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..rays import Rays
from ..samples import Samples


@dataclass(frozen=True)
class UniformSampler:
    """The same number of intervals on every ray, between its entry into a box and its exit."""

    bounds: Float[Tensor, "2 3"]
    """Corners of the box, world units."""
    count: int
    """Intervals per ray."""

    def sample(self, rays: Rays, *, jitter: torch.Generator | None = None) -> Samples:
        """Intervals of one length per ray; of length 0 on rays that miss the box."""
        near, far = rays.box_span(self.bounds)
        far = torch.maximum(far, near)
        shares = torch.linspace(0, 1, self.count + 1, device=near.device).expand(len(near), -1)
        if jitter is not None:
            moved = torch.rand(len(near), 1, generator=jitter).to(near) - 0.5
            shares = torch.cat(
                [shares[:, :1], shares[:, 1:-1] + moved / self.count, shares[:, -1:]], dim=1
            )
        return Samples.from_edges(near[:, None] + shares * (far - near)[:, None])
