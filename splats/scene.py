"""A splat file as something to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from captures import Cameras, Channel, RenderOutput
from runs import RunDirectory

from .formats import load, summarize
from .gaussians import Gaussians
from .rasterizer import rasterization

_NEAR_SHARE = 0.02
_NEAR_PLANE_OF_A_POINT = 0.01


@dataclass(frozen=True)
class SplatScene:
    """Gaussians that render themselves; a `captures.Renderable`."""

    gaussians: Gaussians
    """On the device that renders; in the frame that the cameras must be in."""
    antialiased: bool = False
    """Scale opacities as Mip-Splatting does; True only for scenes that were trained so."""
    path: Path | None = None
    """The file they came from."""
    near: float | None = None
    """Depth below which nothing is drawn; None: `near_plane` of the Gaussians."""

    @property
    def num_primitives(self) -> int:
        """Number of Gaussians."""
        return len(self.gaussians)

    @property
    def num_bytes(self) -> int:
        """Size of the file, or of the float32 parameters where there is none."""
        return self.gaussians.num_bytes if self.path is None else self.path.stat().st_size

    def bounds(self) -> Float[Tensor, "2 3"]:
        """Corners of the box that holds the central 98 % of the means on each axis, world units."""
        return self.gaussians.bounds()

    def to(self, device: torch.device | str) -> SplatScene:
        """The same scene on another device."""
        g = self.gaussians
        moved = Gaussians(
            g.means.to(device),
            g.quats.to(device),
            g.log_scales.to(device),
            g.logit_opacities.to(device),
            g.sh0.to(device),
            g.shN.to(device),
        )
        return SplatScene(moved, self.antialiased, self.path, self.near)

    @torch.no_grad()
    def render(
        self,
        cameras: Cameras,
        *,
        channels: Sequence[Channel] = ("rgb", "alpha", "depth"),
        background: Float[Tensor, "3"] | None = None,
    ) -> RenderOutput:
        """Images from `cameras` over `background` (black when None), on the scene's device."""
        opacities, scales, coefficients = self._activated
        means = self.gaussians.means
        with_depth = "depth" in channels
        backgrounds = None
        if background is not None:
            backgrounds = background.to(means).expand(len(cameras), 3)
        images, alphas, _ = rasterization(
            means,
            self.gaussians.quats,
            scales,
            opacities,
            coefficients,
            cameras.viewmats.to(means),
            cameras.Ks.to(means),
            cameras.width,
            cameras.height,
            sh_degree=self.gaussians.sh_degree,
            near_plane=self._near,
            backgrounds=backgrounds,
            render_mode="RGB+ED" if with_depth else "RGB",
            rasterize_mode="antialiased" if self.antialiased else "classic",
            camera_model=cameras.model,
        )
        return RenderOutput(
            rgb=images[..., :3] if "rgb" in channels else None,
            alpha=alphas if "alpha" in channels else None,
            depth=images[..., 3:] if with_depth else None,
        )

    @cached_property
    def _activated(self) -> tuple[Tensor, Tensor, Tensor]:
        """Opacities [N], scales [N, 3] and SH coefficients [N, K, 3]."""
        g = self.gaussians
        return g.logit_opacities.sigmoid(), g.log_scales.exp(), torch.cat([g.sh0, g.shN], dim=1)

    @cached_property
    def _near(self) -> float:
        return near_plane(self.gaussians) if self.near is None else self.near


def near_plane(gaussians: Gaussians) -> float:
    """Depth below which nothing is drawn, in the unit of the Gaussians.

    It is 2 % of the median distance of the means from their middle, so it grows with the scene and
    a training (which takes that of its first Gaussians) and the file written in another unit cut
    alike. A few far Gaussians, such as a sky, do not move it.
    """
    means = gaussians.means.detach()
    if len(means) == 0:
        return _NEAR_PLANE_OF_A_POINT
    radius = float((means - means.median(dim=0).values).norm(dim=1).median())
    return _NEAR_SHARE * radius or _NEAR_PLANE_OF_A_POINT


def load_scene(path: str | Path, *, device: torch.device | str = "cpu") -> SplatScene:
    """The scene in a splat file, or that of a run directory.

    Args:
        path: A file of any installed format, or the folder of a run.
        device: Where it shall render.

    Raises:
        FileNotFoundError: Nothing there, or a run that has no scene yet.
        ValueError: A malformed file or one without Gaussians.
    """
    path = Path(path)
    file = scene_file(path)
    gaussians = load(file)
    if len(gaussians) == 0:
        raise ValueError(f"{file} holds no Gaussians; expected at least one.")
    return SplatScene(gaussians, summarize(file).antialiased, file).to(device)


def scene_file(path: Path) -> Path:
    """`path` itself if it is a file, else the scene file of the run in that folder."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a run folder or a splat file.")
    if path.is_file():
        return path
    found = RunDirectory.open(path).scene_file
    if found is None:
        raise FileNotFoundError(
            f"{path} has no scene file yet; let its training end, or go on with --resume."
        )
    return found
