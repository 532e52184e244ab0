"""A field as something to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from captures import Cameras, Channel, RenderOutput, Similarity

from .contract import RayRenderer
from .rays import Rays, camera_rays

_RAYS_PER_CALL = 1 << 16
"""Bounds the memory of a large frame."""


@dataclass(frozen=True)
class FieldScene:
    """A field that renders itself; a `captures.Renderable`."""

    renderer: RayRenderer
    """What draws, in a frame of its own."""
    device: torch.device | str = "cpu"
    """Where it renders."""
    T_scene_field: Similarity = field(default_factory=Similarity)
    """From the frame the renderer works in to the scene's, in which cameras and bounds are."""
    path: Path | None = None
    """The file it came from."""

    @property
    def num_primitives(self) -> int:
        """Leaves, tensors, or whatever the field counts itself in."""
        return self.renderer.num_primitives

    @property
    def num_bytes(self) -> int:
        """Size of the file, or of the parameters where there is none."""
        return self.renderer.num_bytes if self.path is None else self.path.stat().st_size

    def bounds(self) -> Float[Tensor, "2 3"]:
        """Corners of the box with the visible content, world units."""
        low, high = self.renderer.bounds().cpu()
        pick = torch.cartesian_prod(*[torch.tensor([False, True])] * 3)
        corners = self.T_scene_field.apply(torch.where(pick, high, low))
        return torch.stack([corners.amin(0), corners.amax(0)])

    @torch.no_grad()
    def render(
        self,
        cameras: Cameras,
        *,
        channels: Sequence[Channel] = ("rgb", "alpha", "depth"),
        background: Float[Tensor, "3"] | None = None,
    ) -> RenderOutput:
        """Images from `cameras` over `background` (black when None), on the scene's device."""
        cameras = self.T_scene_field.inverse().apply_to_cameras(cameras)
        backdrop = torch.zeros(3) if background is None else background.float()
        images = [self._image(cameras[[i]], backdrop.to(self.device)) for i in range(len(cameras))]
        rgb, alpha, depth = (torch.stack(part) for part in zip(*images, strict=True))
        return RenderOutput(
            rgb=rgb if "rgb" in channels else None,
            alpha=alpha if "alpha" in channels else None,
            depth=depth if "depth" in channels else None,
        )

    def _image(self, camera: Cameras, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """rgb [H, W, 3], alpha and expected z-depth [H, W, 1]."""
        rays = camera_rays(camera).to(self.device)
        shape = (camera.height, camera.width)
        colors, opacities, depths = [], [], []
        for start in range(0, len(rays), _RAYS_PER_CALL):
            part: Rays = rays[start : start + _RAYS_PER_CALL]
            seen = self.renderer.render_rays(part)
            colors.append(seen.over(background))
            opacities.append(seen.opacities)
            distances = seen.distances / seen.opacities.clamp(min=1e-6)
            depth = distances * part.depth_scales * self.T_scene_field.scale
            depths.append(depth * (seen.opacities > 1e-4))
        return (
            torch.cat(colors).view(*shape, 3),
            torch.cat(opacities).view(*shape, 1),
            torch.cat(depths).view(*shape, 1),
        )
