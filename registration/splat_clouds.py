"""Points on the surfaces that a splat scene shows."""

from __future__ import annotations

import numpy as np

from splats import Gaussians

from .clouds import Cloud

_SH_C0 = 0.28209479177387814
_MIN_OPACITY = 0.1
_SOLID_OPACITY = 0.7
_LARGE = 10.0


def cloud_of_gaussians(gaussians: Gaussians) -> Cloud:
    """The centres of the Gaussians that form surfaces, with their mean colors.

    Faint Gaussians and those ten times larger than the median (skies, floaters) are left out:
    they dominate moments and lie on no surface. Where few are solid, fainter ones are kept.
    """
    opacities = gaussians.logit_opacities.detach().sigmoid().cpu().numpy()
    sizes = gaussians.log_scales.detach().amax(dim=1).exp().cpu().numpy()
    threshold = _SOLID_OPACITY if (opacities > _SOLID_OPACITY).mean() > 0.2 else _MIN_OPACITY
    kept = opacities > threshold
    if kept.any():
        kept &= sizes < _LARGE * np.median(sizes[kept])
    if not kept.any():
        kept = np.ones(len(opacities), bool)
    colors = 0.5 + _SH_C0 * gaussians.sh0.detach()[:, 0].cpu().numpy()
    return Cloud(
        points=gaussians.means.detach().cpu().numpy()[kept].astype(np.float64),
        colors=np.clip(colors[kept], 0, 1).astype(np.float32),
        gaussians=gaussians,
    )
