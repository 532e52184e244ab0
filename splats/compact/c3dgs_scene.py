"""A `c3dgs` model as something to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from captures import Cameras, Channel, RenderOutput

from ..gaussians import Gaussians
from ..rasterizer import rasterization
from .c3dgs_file import C3dgsModel, read


@dataclass(frozen=True)
class C3dgsScene:
    """Gaussians colored by their field, for every camera where its direction enters the network; a
    `captures.Renderable`."""

    model: C3dgsModel
    """On the device that renders."""
    antialiased: bool = False
    """Scale opacities as Mip-Splatting does."""
    path: Path | None = None
    """The file it came from."""

    @property
    def num_primitives(self) -> int:
        """Number of Gaussians."""
        return len(self.model.geometry)

    @property
    def num_bytes(self) -> int:
        """Size of the file, or of the float32 parameters where there is none."""
        if self.path is not None:
            return self.path.stat().st_size
        field = sum(value.nbytes for value in self.model.field.parameters())
        return self.model.geometry.num_bytes + field

    @cached_property
    def gaussians(self) -> Gaussians:
        """The scene with its color as harmonics, for what knows nothing else."""
        return self.model.baked()

    def bounds(self) -> Float[Tensor, "2 3"]:
        """Corners of the box that holds the central 98 % of the means on each axis, world units."""
        return self.model.geometry.bounds()

    @torch.no_grad()
    def render(
        self,
        cameras: Cameras,
        *,
        channels: Sequence[Channel] = ("rgb", "alpha", "depth"),
        background: Float[Tensor, "3"] | None = None,
    ) -> RenderOutput:
        """Images from `cameras` over `background` (black when None)."""
        from ..scene import SplatScene, near_plane

        if self.model.field.harmonics:
            same = SplatScene(self.gaussians, self.antialiased)
            return same.render(cameras, channels=channels, background=background)
        geometry = self.model.geometry
        means = geometry.means
        with_depth = "depth" in channels
        found = []
        for viewmat, K in zip(cameras.viewmats.to(means), cameras.Ks.to(means), strict=True):
            images, alphas, _ = rasterization(
                means,
                geometry.quats,
                geometry.log_scales.exp(),
                geometry.logit_opacities.sigmoid(),
                geometry.sh0 + self._colors(viewmat)[:, None],
                viewmat[None],
                K[None],
                cameras.width,
                cameras.height,
                sh_degree=0,
                near_plane=near_plane(geometry),
                backgrounds=None if background is None else background.to(means)[None],
                render_mode="RGB+ED" if with_depth else "RGB",
                rasterize_mode="antialiased" if self.antialiased else "classic",
                camera_model=cameras.model,
            )
            found.append((images, alphas))
        images, alphas = (torch.cat(part) for part in zip(*found, strict=True))
        return RenderOutput(
            rgb=images[..., :3] if "rgb" in channels else None,
            alpha=alphas if "alpha" in channels else None,
            depth=images[..., 3:] if with_depth else None,
        )

    def _colors(self, viewmat: Float[Tensor, "4 4"]) -> Float[Tensor, "N 3"]:
        """What the field adds to every Gaussian as this camera sees it."""
        camera = -viewmat[:3, :3].T @ viewmat[:3, 3]
        turn = self.model.T_scene_field.rotation.to(viewmat)
        directions = normalize(self.model.geometry.means - camera, dim=-1) @ turn
        return self.model.field(self._places, directions)

    @cached_property
    def _places(self) -> Float[Tensor, "N 3"]:
        return self.model.places()


def load_c3dgs(path: Path, *, device: torch.device | str = "cpu") -> C3dgsScene:
    """The scene in a file of kind "c3dgs"."""
    model, antialiased = read(path)
    geometry = model.geometry
    moved = Gaussians(
        geometry.means.to(device),
        geometry.quats.to(device),
        geometry.log_scales.to(device),
        geometry.logit_opacities.to(device),
        geometry.sh0.to(device),
        geometry.shN.to(device),
    )
    field = model.field.to(device)
    return C3dgsScene(replace(model, geometry=moved, field=field), antialiased, path)
