"""Showing a photo and a render of the same view at once."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from captures import Cameras

CompareMode = Literal["Off", "Slider", "Side by side", "Difference"]

COMPARE_MODES: tuple[CompareMode, ...] = ("Off", "Slider", "Side by side", "Difference")
"""Off; photo left of a movable edge; both shrunk beside each other; absolute error."""


def photo_as_seen(
    photo: Float[Tensor, "H W 3"], photo_camera: Cameras, view_camera: Cameras
) -> tuple[Float[Tensor, "h w 3"], Bool[Tensor, "h w"]]:
    """The photo as a camera at the same place but turned or zoomed would have taken it.

    A view pixel with ray direction K_v^-1 u falls on the photo at K_p R_p R_v^T K_v^-1 u; the
    photo is shown as if it were infinitely far away, so the picture is exact where both cameras
    are at one place and shows parallax otherwise.

    Args:
        photo: The picture of `photo_camera`.
        photo_camera: One pinhole camera.
        view_camera: One pinhole camera; its size is the result's.

    Returns:
        The picture and where it is inside the photo; black elsewhere.
    """
    rotation = photo_camera.viewmats[0, :3, :3] @ view_camera.viewmats[0, :3, :3].T
    homography = photo_camera.Ks[0] @ rotation @ torch.linalg.inv(view_camera.Ks[0])
    rows = torch.arange(view_camera.height, dtype=torch.float64) + 0.5
    columns = torch.arange(view_camera.width, dtype=torch.float64) + 0.5
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ homography.T
    in_front = pixels[..., 2] > 1e-9
    size = torch.tensor([photo.shape[1], photo.shape[0]], dtype=torch.float64)
    grid = 2 * pixels[..., :2] / pixels[..., 2:].clamp(min=1e-9) / size - 1
    inside = in_front & (grid.abs() <= 1).all(dim=-1)
    sampled = functional.grid_sample(
        photo.permute(2, 0, 1)[None],
        grid[None].clamp(-2, 2).to(photo),
        padding_mode="border",
        align_corners=False,
    )
    return sampled[0].permute(1, 2, 0) * inside[..., None], inside


def compose(
    mode: CompareMode,
    render: Float[Tensor, "H W 3"],
    photo: Float[Tensor, "H W 3"],
    inside: Bool[Tensor, "H W"],
    *,
    edge: float,
) -> Float[Tensor, "H W 3"]:
    """One picture of both.

    Args:
        mode: See `COMPARE_MODES`.
        render: Colors in [0, 1].
        photo: Of the same view.
        inside: Where `photo` is defined; the render is shown dimmed elsewhere.
        edge: Where the slider stands, 0 at the left border and 1 at the right one.
    """
    if mode == "Off":
        return render
    shown = torch.where(inside[..., None], photo, 0.25 * render)
    if mode == "Difference":
        return torch.where(inside[..., None], (render - photo).abs(), 0.25 * render)
    height, width, _ = render.shape
    column = round(edge * width)
    if mode == "Slider":
        result = torch.cat([shown[:, :column], render[:, column:]], dim=1)
        line = slice(max(0, column - 1), column + 1)
        result[:, line] = 1.0
        return result
    half = width // 2
    rows = max(1, round(height * half / width))
    result = torch.zeros_like(render)
    top = (height - rows) // 2
    for offset, picture in ((0, shown), (width - half, render)):
        small = functional.interpolate(picture.permute(2, 0, 1)[None], (rows, half), mode="area")
        result[top : top + rows, offset : offset + half] = small[0].permute(1, 2, 0)
    return result
