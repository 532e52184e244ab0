"""Gaussians in the form that the browser draws by itself: one color each, limited in number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from captures.rotations import quats_to_rotmats
from splats.gaussians import Gaussians
from splats.sh import SH_C0

MAX_BROWSER_SPLATS = 500_000
"""More make weak graphics chips stutter and the page slow to load (32 bytes each)."""


@dataclass(frozen=True)
class BrowserSplats:
    """Arguments of viser's `add_gaussian_splats`, float32."""

    unit: float
    """World units that one unit of `centers` is long; the node's scale."""
    centers: np.ndarray
    """[N, 3]."""
    covariances: np.ndarray
    """[N, 3, 3]."""
    rgbs: np.ndarray
    """[N, 3] in [0, 1]: the color without its dependence on the direction."""
    opacities: np.ndarray
    """[N, 1] in (0, 1)."""


@torch.no_grad()
def browser_splats(gaussians: Gaussians, *, max_count: int = MAX_BROWSER_SPLATS) -> BrowserSplats:
    """The Gaussians as the browser takes them.

    Where there are more than `max_count`, those with the largest opacity times cross-section are
    kept, which cover most of any picture. The unit is the median size of a Gaussian, because viser
    stores covariances as float16, in which those of small scenes would round to zero.
    """
    unit = float(gaussians.log_scales.amax(dim=1).median().exp()) if len(gaussians) else 1.0
    if len(gaussians) > max_count:
        areas = gaussians.log_scales.topk(2, dim=1).values.sum(dim=1)
        weights = torch.nn.functional.logsigmoid(gaussians.logit_opacities) + areas
        gaussians = gaussians[weights.topk(max_count).indices.sort().values]
    axes = quats_to_rotmats(gaussians.quats) * (gaussians.log_scales.exp() / unit)[:, None, :]
    covariances = (axes @ axes.transpose(1, 2)).clamp(-6e4, 6e4)  # float16 ends at 65504
    return BrowserSplats(
        unit,
        (gaussians.means / unit).float().cpu().numpy(),
        covariances.float().cpu().numpy(),
        (0.5 + SH_C0 * gaussians.sh0[:, 0]).clamp(0, 1).float().cpu().numpy(),
        gaussians.logit_opacities.sigmoid()[:, None].float().cpu().numpy(),
    )
