"""Which Gaussians a view may show, before anything is spent on them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..training.parametrization import Pinhole

_EXTENT = 3.34  # standard deviations at which opacity 1 has fallen below 1/255
_BLUR = 2.0  # pixels by which the rasterizer's low-pass widens everything, at most


@torch.no_grad()
def may_show(
    means: Float[Tensor, "N 3"], scales: Float[Tensor, "N 3"], view: Pinhole
) -> Bool[Tensor, "N"]:
    """False only where the rasterizer draws nothing: behind the camera or beside the image.

    Args:
        means: Centers in world units.
        scales: Standard deviations.
        view: The image.
    """
    x, y, depth = (means @ view.viewmat[:3, :3].T + view.viewmat[:3, 3]).unbind(dim=1)
    front = depth > 0
    depth = torch.where(front, depth, torch.ones_like(depth))
    reach = _EXTENT * scales.amax(dim=1) / depth
    seen = front
    for slope, axis, size in ((x / depth, 0, view.width), (y / depth, 1, view.height)):
        focal, middle = view.K[axis, axis], view.K[axis, 2]
        # A sphere's affine image is longer by the slope of the ray, in both directions.
        half = reach * focal * (1 + slope * slope).sqrt() + _BLUR
        place = slope * focal + middle
        seen = seen & (place + half > 0) & (place - half < size)
    return seen
