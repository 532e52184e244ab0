"""Settings of `fieldwright train splats`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SplatsConfig:
    """Every default works unedited; None is derived from the capture, saved and printed."""

    strategy: Literal["mcmc", "default"] = "mcmc"
    """How Gaussians are added, moved and removed."""
    max_gaussians: int | None = None
    """Most Gaussians; None takes `gaussians_per_pixel` times the pixels of one training image."""
    gaussians_per_pixel: float = 0.3
    """Used where `max_gaussians` is None."""
    init: str = "auto"
    """Where Gaussians start: `points`, the capture's; `photos`, points that the photos agree on;
    `random` points in a box; or a file with points or Gaussians in the source's frame, such as a
    converted field. auto takes the capture's points where it has at least 1,000."""
    num_init: int = 30_000
    """Gaussians to start from where the capture's own points are not used."""
    sh_degree: int = 3
    """Degree of the view-dependent color, 0 to 4."""
    ssim_weight: float = 0.2
    """Loss = (1 - w) L1 + w (1 - SSIM)."""
    background: Literal["auto", "black", "white", "random"] = "auto"
    """Behind the Gaussians; auto takes random colors for images with alpha, else black."""
    antialiased: bool = False
    """Mip-Splatting's opacity compensation, for scenes that are looked at from other distances."""
    coarse_until: float = 0.25
    """Share of the budget spent at half resolution first; 0 trains at full resolution."""
    exposure: bool = False
    """Learn a 3 x 4 color transform per training image, for photos of varying exposure."""
    refine_poses: bool = False
    """Learn a small rotation and translation per training camera."""
    refine_every: int = 100
    """Steps between refinements of the set of Gaussians."""
    opacity_weight: float = 0.01
    """MCMC: weight of the mean opacity in the loss."""
    scale_weight: float = 1.0
    """MCMC: weight of the mean scale, in units of the normalized scene, in the loss. It keeps
    faint Gaussians from covering the screen, which is what a step costs; the paper has 0.01 in
    units of the unnormalized scene."""
    noise: float = 1e5
    """MCMC: noise added to the means, as a multiple of their learning rate."""
    grow_gradient: float = 2e-4
    """Default strategy: screen gradient above which a Gaussian grows."""
    absgrad: bool = False
    """Default strategy: judge by sums of absolute pixel gradients (AbsGS)."""
    means_unit: Literal["extent", "pixel"] = "extent"
    """What `lr_means` counts: the extent of the cameras, or pixels of a photo at the depth of what
    it shows, which suit a capture however near its cameras are."""
    lr_means: float = 1e-3
    """Learning rate of the centers, in `means_unit` per step."""
    lr_means_final: float = 5e-6
    """The same at the end of the budget; log-linear between."""
    lr_sh0: float = 2.5e-3
    """Learning rate of the base color."""
    lr_shN: float = 1.25e-4
    """Learning rate of the view-dependent color."""
    lr_opacities: float = 5e-2
    """Learning rate of the opacity logits."""
    lr_scales: float = 5e-3
    """Learning rate of the log scales."""
    lr_quats: float = 1e-3
    """Learning rate of the rotations."""

    def __post_init__(self) -> None:
        if not 0 <= self.sh_degree <= 4:
            raise ValueError(f"`sh_degree` must be 0 to 4, got {self.sh_degree}.")
        if self.max_gaussians is not None and self.max_gaussians < 1:
            raise ValueError(f"`max_gaussians` must be at least 1, got {self.max_gaussians}.")
        if self.num_init < 1:
            raise ValueError(f"`num_init` must be at least 1, got {self.num_init}.")
        if not 0 <= self.coarse_until < 1:
            raise ValueError(f"`coarse_until` must be in [0, 1), got {self.coarse_until}.")
