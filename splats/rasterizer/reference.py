"""The rasterization backend that defines the mathematics: plain torch, any dtype and device.

It visits every pair of a pixel and a Gaussian, so it is slow and has no approximation that a
faster backend could share by mistake. Gradients come from autograd.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from ..sh import num_sh_bases, sh_basis
from . import projection
from .backend import ALPHA_THRESHOLD, MAX_ALPHA, MIN_TRANSMITTANCE, CameraModel, Projection


@dataclass(frozen=True, slots=True)
class Bins:
    """What compositing needs besides the Gaussians."""

    width: int
    height: int
    tile_size: int
    tile_masks: Bool[Tensor, "C tile_height tile_width"] | None
    orders: list[Int64[Tensor, "_"]]
    """Per camera the visible Gaussians, nearest first."""


class ReferenceBackend:
    """Implements `Backend` in the dtype and on the device of its inputs."""

    def project(
        self,
        means: Float[Tensor, "N 3"],
        quats: Float[Tensor, "N 4"] | None,
        scales: Float[Tensor, "N 3"] | None,
        covars: Float[Tensor, "N 3 3"] | None,
        opacities: Float[Tensor, "N"],
        viewmats: Float[Tensor, "C 4 4"],
        Ks: Float[Tensor, "C 3 3"],
        width: int,
        height: int,
        *,
        eps2d: float,
        near_plane: float,
        far_plane: float,
        radius_clip: float,
        antialiased: bool,
        camera_model: CameraModel,
    ) -> Projection:
        """See `Backend.project`."""
        if covars is None:
            assert quats is not None and scales is not None
            covars = projection.covariances(quats, scales)
        return projection.project(
            means,
            covars,
            opacities,
            viewmats,
            Ks,
            width,
            height,
            eps2d=eps2d,
            near_plane=near_plane,
            far_plane=far_plane,
            radius_clip=radius_clip,
            antialiased=antialiased,
            camera_model=camera_model,
        )

    def spherical_harmonics(
        self,
        degree: int,
        means: Float[Tensor, "N 3"],
        viewmats: Float[Tensor, "C 4 4"],
        coefficients: Float[Tensor, "*C N K 3"],
        rest: Float[Tensor, "N rest 3"] | None,
        radii: Int32[Tensor, "C N 2"],
    ) -> Float[Tensor, "C N 3"]:
        """See `Backend.spherical_harmonics`."""
        if rest is not None:
            coefficients = torch.cat([coefficients, rest], dim=-2)
        centres = -(viewmats[:, :3, :3].mT @ viewmats[:, :3, 3:]).squeeze(-1)
        visible = (radii > 0).all(dim=-1, keepdim=True)
        # Culled means may sit on the camera centre, where the direction has no gradient.
        offsets = torch.where(visible, means - centres[:, None], 1)
        basis = sh_basis(degree, torch.nn.functional.normalize(offsets, dim=-1))
        used = coefficients[..., : num_sh_bases(degree), :]
        colors = (basis[..., None, :] @ used).squeeze(-2) + 0.5
        return torch.where(visible, colors.clamp_min(0), 0)

    def bin(
        self,
        means2d: Float[Tensor, "C N 2"],
        conics: Float[Tensor, "C N 3"],
        opacities: Float[Tensor, "C N"],
        depths: Float[Tensor, "C N"],
        radii: Int32[Tensor, "C N 2"],
        width: int,
        height: int,
        *,
        tile_size: int,
        tile_masks: Bool[Tensor, "C tile_height tile_width"] | None,
    ) -> Bins:
        """See `Backend.bin`."""
        visible = (radii > 0).all(dim=-1)
        orders = []
        for camera_depths, camera_visible in zip(depths, visible, strict=True):
            index = camera_visible.nonzero().squeeze(-1)
            orders.append(index[camera_depths[index].argsort(stable=True)])
        return Bins(width, height, tile_size, tile_masks, orders)

    def composite(
        self,
        bins: Bins,
        means2d: Float[Tensor, "C N 2"],
        conics: Float[Tensor, "C N 3"],
        colors: Float[Tensor, "C N D"],
        opacities: Float[Tensor, "C N"],
        *,
        background: Float[Tensor, "C D"] | None,
        absgrad: Float[Tensor, "C N 2"] | None,
    ) -> tuple[Float[Tensor, "C H W D"], Float[Tensor, "C H W 1"]]:
        """See `Backend.composite`."""
        images, alphas = [], []
        for camera, order in enumerate(bins.orders):
            tiles = [
                _composite_pixels(
                    pixels,
                    order if shown else order[:0],
                    means2d[camera],
                    conics[camera],
                    colors[camera],
                    opacities[camera],
                    None if absgrad is None else absgrad[camera],
                )
                for pixels, shown in _tiles(bins, camera, means2d)
            ]
            images.append(_untile([image for image, _ in tiles], bins))
            alphas.append(_untile([alpha for _, alpha in tiles], bins))
        image, alpha = torch.stack(images), torch.stack(alphas)
        if background is not None:
            image = image + (1 - alpha) * background[:, None, None, :]
        return image, alpha


def _composite_pixels(
    pixels: Float[Tensor, "h w 2"],
    order: Int64[Tensor, "M"],
    means2d: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    colors: Float[Tensor, "N D"],
    opacities: Float[Tensor, "N"],
    absgrad: Float[Tensor, "N 2"] | None,
) -> tuple[Float[Tensor, "h w D"], Float[Tensor, "h w 1"]]:
    """Blend the Gaussians of `order`, front to back, at the given pixel centres."""
    with torch.no_grad():
        alphas = _alphas(pixels[..., None, :], means2d[order], conics[order], opacities[order])
        # Those that touch no pixel here cost memory in the graph and change nothing.
        order = order[(alphas >= ALPHA_THRESHOLD).flatten(0, 1).any(dim=0)]
    centres = means2d[order].expand(*pixels.shape[:-1], -1, -1)
    if absgrad is not None and centres.requires_grad:
        _gather_absolute_gradients(centres, order, absgrad)
    alphas = _alphas(pixels[..., None, :], centres, conics[order], opacities[order])
    alphas = torch.where(alphas >= ALPHA_THRESHOLD, alphas, 0)
    alphas = torch.where((1 - alphas).cumprod(dim=-1) > MIN_TRANSMITTANCE, alphas, 0)
    after = (1 - alphas).cumprod(dim=-1)
    weights = alphas * torch.nn.functional.pad(after[..., :-1], (1, 0), value=1.0)
    return weights @ colors[order], weights.sum(dim=-1, keepdim=True)


def _gather_absolute_gradients(
    centres: Float[Tensor, "h w M 2"], order: Int64[Tensor, "M"], absgrad: Float[Tensor, "N 2"]
) -> None:
    """When backward reaches `centres`, add the sums over pixels of its |gradient| to `absgrad`."""

    def add(grad: Tensor) -> None:
        absgrad.index_add_(0, order, grad.abs().sum(dim=(0, 1)))

    centres.register_hook(add)


def _alphas(
    pixels: Float[Tensor, "h w 1 2"],
    centres: Float[Tensor, "*pixels M 2"],
    conics: Float[Tensor, "M 3"],
    opacities: Float[Tensor, "M"],
) -> Float[Tensor, "h w M"]:
    """min(0.99, o exp(-d^T conic d / 2)) of every pair, before the threshold."""
    dx, dy = (pixels - centres).unbind(-1)
    a, b, c = conics.unbind(-1)
    power = -0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy
    return (opacities * power.exp()).clamp_max(MAX_ALPHA)


def _tiles(bins: Bins, camera: int, like: Tensor) -> Iterator[tuple[Tensor, bool]]:
    """Pixel centres (x, y) [h, w, 2] of every tile, row by row, and whether it is shown."""
    xs = torch.arange(bins.width, dtype=like.dtype, device=like.device) + 0.5
    ys = torch.arange(bins.height, dtype=like.dtype, device=like.device) + 0.5
    for row, tile_ys in enumerate(ys.split(bins.tile_size)):
        for column, tile_xs in enumerate(xs.split(bins.tile_size)):
            shown = bins.tile_masks is None or bool(bins.tile_masks[camera, row, column])
            yield torch.stack(torch.meshgrid(tile_xs, tile_ys, indexing="xy"), dim=-1), shown


def _untile(tiles: list[Float[Tensor, "_ _ D"]], bins: Bins) -> Float[Tensor, "H W D"]:
    """Put tiles, listed row by row, side by side."""
    per_row = -(-bins.width // bins.tile_size)
    rows = [torch.cat(tiles[i : i + per_row], dim=1) for i in range(0, len(tiles), per_row)]
    return torch.cat(rows, dim=0)
