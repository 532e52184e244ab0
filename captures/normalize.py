"""The frame that a capture is trained in: cameras around the origin, at most one unit away."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .cameras import Cameras
from .similarity import Similarity

# Smallest eigenvalue of the mean projector off the viewing axes: 0 for parallel axes, about 0.01
# for axes within 6 degrees of each other, whose nearest point is too uncertain to be a center.
_MIN_CONVERGENCE = 0.01


def normalizing_similarity(cameras: Cameras) -> Similarity:
    """From the frame of `cameras` to one centred on what they look at, without rotation.

    The origin becomes the point nearest to all optical axes where nearly all cameras look towards
    it, else the mean of the camera centres. The farthest camera comes to distance 1.
    """
    focus = _focus_point(cameras)
    center = cameras.positions.mean(dim=0) if focus is None else focus
    radius = float((cameras.positions - center).norm(dim=1).max())
    # One camera, or all in one place, give no length to go by.
    scale = 1 / radius if radius > 0 else 1.0
    return Similarity(scale=scale, translation=-scale * center)


def _focus_point(cameras: Cameras) -> Float[Tensor, "3"] | None:
    """The least-squares intersection of the optical axes; None for cameras that look elsewhere."""
    positions, forward = cameras.positions, cameras.viewmats[:, 2, :3]
    off_axis = torch.eye(3, dtype=positions.dtype) - forward[:, :, None] * forward[:, None, :]
    if torch.linalg.eigvalsh(off_axis.mean(dim=0))[0] < _MIN_CONVERGENCE:
        return None
    focus = torch.linalg.solve(
        off_axis.sum(dim=0), (off_axis @ positions[..., None]).sum(dim=0).squeeze(-1)
    )
    in_front = ((focus - positions) * forward).sum(dim=1) > 0
    return focus if in_front.float().mean() > 0.9 else None
