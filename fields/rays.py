"""Rays of cameras."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from captures import Cameras
from captures.cameras import CameraModel


@dataclass(frozen=True)
class Rays:
    """R half-lines, float32."""

    origins: Float[Tensor, "R 3"]
    """World units."""
    directions: Float[Tensor, "R 3"]
    """Unit length, from the camera away."""
    depth_scales: Float[Tensor, "R"]
    """z-depth per distance along the ray: the cosine to the optical axis."""

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, index: slice | Tensor) -> Rays:
        """The chosen rays."""
        return Rays(self.origins[index], self.directions[index], self.depth_scales[index])

    def to(self, device: torch.device | str) -> Rays:
        """The same rays on another device."""
        return Rays(
            self.origins.to(device), self.directions.to(device), self.depth_scales.to(device)
        )

    def box_span(self, bounds: Float[Tensor, "2 3"]) -> tuple[Float[Tensor, "R"], ...]:
        """Distances at which the rays enter and leave a box; leave <= enter where they miss it."""
        low, high = bounds.to(self.origins)
        tiny = torch.finfo(torch.float32).tiny
        inverse = 1 / torch.where(self.directions.abs() < tiny, tiny, self.directions)
        a, b = (low - self.origins) * inverse, (high - self.origins) * inverse
        enter = torch.minimum(a, b).amax(dim=1).clamp(min=0)
        return enter, torch.maximum(a, b).amin(dim=1)


def camera_rays(cameras: Cameras) -> Rays:
    """Rays through all pixel centres of one camera, row by row.

    Raises:
        ValueError: `cameras` holds several cameras, or distortion, which must be undone first.
    """
    if len(cameras) != 1:
        raise ValueError(f"`cameras` must hold one camera, got {len(cameras)}; index it first.")
    y, x = torch.meshgrid(
        torch.arange(cameras.height) + 0.5, torch.arange(cameras.width) + 0.5, indexing="ij"
    )
    return pixel_rays(cameras, None, torch.stack([x.flatten(), y.flatten()], dim=1))


def pixel_rays(
    cameras: Cameras, indices: Int64[Tensor, "R"] | None, pixels: Float[Tensor, "R 2"]
) -> Rays:
    """Rays through image positions.

    Args:
        cameras: Undistorted cameras of any of the three models.
        indices: Which camera each ray is of; None takes the first for all.
        pixels: (x, y) in pixels; centres lie at +0.5.

    Raises:
        ValueError: `cameras` are distorted.
    """
    if cameras.distortion is not None:
        raise ValueError("`cameras` must be undistorted, got distortion coefficients.")
    chosen = slice(0, 1) if indices is None else indices
    camtoworlds, Ks = cameras.camtoworlds.float()[chosen], cameras.Ks.float()[chosen]
    return lens_rays(cameras.model, camtoworlds, Ks, pixels)


def lens_rays(
    model: CameraModel,
    camtoworlds: Float[Tensor, "C 4 4"],
    Ks: Float[Tensor, "C 3 3"],
    pixels: Float[Tensor, "R 2"],
) -> Rays:
    """Rays of one camera per pixel, or of one for all: C is R or 1, everything float32."""
    plane = (pixels - Ks[:, :2, 2]) / torch.stack([Ks[:, 0, 0], Ks[:, 1, 1]], dim=1)
    origins = camtoworlds[:, :3, 3].expand(len(pixels), 3)
    directions = torch.cat([plane, torch.ones_like(plane[:, :1])], dim=1)
    if model == "ortho":
        directions[:, :2] = 0
        origins = origins + _turned(camtoworlds, torch.nn.functional.pad(plane, (0, 1)))
    elif model == "fisheye":
        angle = plane.norm(dim=1, keepdim=True)
        sine = torch.sinc(angle / torch.pi)  # sin(angle) / angle
        directions = torch.cat([plane * sine, angle.cos()], dim=1)
    directions = directions / directions.norm(dim=1, keepdim=True)
    return Rays(origins.contiguous(), _turned(camtoworlds, directions), directions[:, 2])


def _turned(
    camtoworlds: Float[Tensor, "C 4 4"], vectors: Float[Tensor, "R 3"]
) -> Float[Tensor, "R 3"]:
    """Camera vectors in world axes; C is 1 or R."""
    rotations = camtoworlds[:, :3, :3]
    if len(rotations) == 1:
        return vectors @ rotations[0].T
    return (rotations @ vectors[..., None]).squeeze(-1)
