"""A real scene: coloured points of the Mip-NeRF 360 garden as small Gaussians."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from splats import rasterization


@pytest.mark.skipif(find_spec("splats._native") is None, reason="the native kernels are not built")
def test_garden_crop_shows_the_points_where_they_project(shared_data: Path) -> None:
    """Each small opaque splat that nothing covers must colour the pixel it projects to."""
    file = shared_data / "scenes" / "garden_gsplat" / "test_garden.npz"
    if not file.is_file():
        pytest.skip(f"{file.name} is not among the real data")
    data = np.load(file)
    means = torch.from_numpy(data["means3d"])
    colors = torch.from_numpy(data["colors"]).float() / 255
    viewmats, Ks = torch.from_numpy(data["viewmats"][:1]), torch.from_numpy(data["Ks"][:1])
    width, height = int(data["width"]), int(data["height"])
    count = len(means)
    image, alpha, meta = rasterization(
        means,
        torch.tensor([1.0, 0, 0, 0]).expand(count, 4),
        torch.full((count, 3), 0.004),
        torch.full((count,), 0.95),
        colors,
        viewmats,
        Ks,
        width,
        height,
        render_mode="RGB+ED",
        backend="cpu",
    )
    assert 0.5 < alpha.mean() <= 1 and image.isfinite().all()
    pixels = meta["means2d"][0].floor().long()
    depths = meta["depths"][0]
    inside = (meta["radii"][0] > 0).all(-1) & (pixels >= 0).all(-1)
    inside &= (pixels[:, 0] < width) & (pixels[:, 1] < height)
    x, y = pixels[inside].unbind(-1)
    shown = image[0, y, x]
    front = (shown[:, 3] / depths[inside] - 1).abs() < 0.005
    assert front.sum() > 5000
    error = (shown[front, :3] - colors[inside][front]).abs().mean()
    shuffled = (shown[front, :3] - colors[inside][front].flip(0)).abs().mean()
    assert error < 0.12 and error < 0.6 * shuffled
