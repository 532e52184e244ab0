"""How long a pixel is in the scene."""

from __future__ import annotations

import torch

from captures import Cameras

from ..gaussians import Gaussians

_ENOUGH = 10_000
"""Points whose median is as good as that of all."""


@torch.no_grad()
def pixel_size(gaussians: Gaussians, cameras: Cameras) -> float:
    """The length that a pixel spans at the depth of what pictures show, in the median.

    Unlike the extent of the cameras it knows how near they are and how fine the pictures, and so
    how small the Gaussians become that are fitted to them.

    Args:
        gaussians: In the frame of the cameras; at least one.
        cameras: At least one; all are taken as pinholes, which is near enough for a median.

    Returns:
        In the unit of the Gaussians, positive.
    """
    means = gaussians.means.detach()[:: max(1, len(gaussians) // _ENOUGH)].double().cpu()
    sizes, anywhere = [], []
    for viewmat, K in zip(cameras.viewmats.double(), cameras.Ks.double(), strict=True):
        points = means @ viewmat[:3, :3].T + viewmat[:3, 3]
        image = points @ K.T
        depth = image[:, 2]
        x, y = (image[:, :2] / depth[:, None]).unbind(dim=1)
        shown = (depth > 0) & (x > 0) & (x < cameras.width) & (y > 0) & (y < cameras.height)
        sizes.append(depth[shown] / K[0, 0])
        anywhere.append(points.norm(dim=1) / K[0, 0])
    found = torch.cat(sizes)
    return float((found if len(found) else torch.cat(anywhere)).median().clamp_min(1e-12))
