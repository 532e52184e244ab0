"""How much Gaussians contribute to pictures, roughly, without rendering any."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..gaussians import Gaussians


def importance(gaussians: Gaussians) -> Float[Tensor, "N"]:
    """Opacity times the product of the three standard deviations (proportional to the volume).

    The order in which viewers that draw while they download expect Gaussians (antimatter15).
    """
    return gaussians.logit_opacities.sigmoid() * gaussians.log_scales.double().sum(1).exp()


def visible_importance(gaussians: Gaussians) -> Float[Tensor, "N"]:
    """Opacity times the product of the two largest standard deviations.

    This is in proportion to the area that a Gaussian covers on average, so that flat ones, whose
    volume vanishes, count for what they paint; used to choose which Gaussians to keep.
    """
    two_largest = gaussians.log_scales.double().topk(2, dim=1).values.sum(1)
    return gaussians.logit_opacities.sigmoid() * two_largest.exp()
