"""Lens formulas against COLMAP's own, and undistortion against ideal images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from captures.colmap import _lens
from captures.colmap_format import ColmapCamera
from captures.lenses import Lens, source_grid
from captures.views import StoredView, undistort_view

MODELS: dict[str, tuple[float, ...]] = {
    "SIMPLE_PINHOLE": (100.0, 60.0, 40.0),
    "PINHOLE": (100.0, 110.0, 60.0, 40.0),
    "SIMPLE_RADIAL": (100.0, 60.0, 40.0, -0.1),
    "RADIAL": (100.0, 60.0, 40.0, -0.1, 0.05),
    "OPENCV": (100.0, 110.0, 60.0, 40.0, -0.1, 0.05, 0.01, -0.02),
    "FULL_OPENCV": (100.0, 110.0, 60.0, 40.0, -0.1, 0.05, 0.01, -0.02, 0.03, 0.2, -0.1, 0.04),
    "SIMPLE_FISHEYE": (100.0, 60.0, 40.0),
    "FISHEYE": (100.0, 110.0, 60.0, 40.0),
    "SIMPLE_RADIAL_FISHEYE": (100.0, 60.0, 40.0, -0.1),
    "RADIAL_FISHEYE": (100.0, 60.0, 40.0, -0.1, 0.05),
    "OPENCV_FISHEYE": (100.0, 110.0, 60.0, 40.0, -0.1, 0.05, 0.02, -0.01),
    "THIN_PRISM_FISHEYE": (100, 110, 60, 40, -0.1, 0.05, 0.01, -0.02, 0.02, -0.01, 0.03, -0.04),
    "FOV": (100.0, 110.0, 60.0, 40.0, 0.9),
}


@pytest.mark.parametrize("model", MODELS)
def test_every_model_projects_as_colmap_does(model: str) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    params = tuple(map(float, MODELS[model]))
    theirs = pycolmap.Camera(model=model, width=120, height=80, params=list(params))
    lens = _lens(ColmapCamera(model, 120, 80, params), "here")
    points = (
        torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    )
    pixels = lens.distort(points) * torch.tensor([lens.fx, lens.fy], dtype=torch.float64)
    pixels += torch.tensor([lens.cx, lens.cy], dtype=torch.float64)
    rays = torch.cat([points, torch.ones(50, 1)], dim=1).numpy()
    np.testing.assert_allclose(pixels.numpy(), theirs.img_from_cam(rays), rtol=0, atol=1e-9)


def photograph(lens: Lens) -> torch.Tensor:
    """A smooth pattern on the plane z = 1 as `lens` sees it, found by inverting `distort`."""
    y, x = torch.meshgrid(
        torch.arange(lens.height) + 0.5, torch.arange(lens.width) + 0.5, indexing="ij"
    )
    seen = torch.stack([(x - lens.cx) / lens.fx, (y - lens.cy) / lens.fy], dim=-1).double()
    plane = seen.clone()
    for _ in range(100):
        plane = plane - (lens.distort(plane) - seen)
    assert (lens.distort(plane) - seen).abs().max() < 1e-9
    return pattern(plane)


def pattern(plane: torch.Tensor) -> torch.Tensor:
    x, y = plane.unbind(-1)
    waves = [
        torch.sin(9 * x) * torch.cos(7 * y),
        torch.sin(8 * x + 5 * y),
        torch.cos(6 * x * y + y),
    ]
    return torch.stack(waves, dim=-1) * 0.4 + 0.5


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("opencv", (0.12, -0.05, 0.004, -0.003)),
        ("opencv", (-0.15, 0.03, -0.002, 0.004, 0.01, 0.02)),
        ("fisheye", (0.05, -0.02, 0.01, -0.003)),
        ("fov", (0.7,)),
    ],
)
def test_undistorted_photos_equal_ideal_ones(model, coefficients: tuple[float, ...]) -> None:
    lens = Lens(160, 120, 130.0, 128.0, 83.0, 57.0, model, coefficients)
    photo = (photograph(lens) * 255).round().byte()
    ideal = photograph(lens.undistorted()) * 255
    straight = undistort_view(StoredView(photo, None, None, None), *source_grid(lens))
    inside = torch.ones(120, 160, dtype=torch.bool) if straight.mask is None else straight.mask
    # The rim is interpolated with repeated border pixels.
    inside = inside & (torch.nn.functional.max_pool2d((~inside)[None].float(), 5, 1, 2)[0] == 0)
    inside[:3] = inside[-3:] = False
    inside[:, :3] = inside[:, -3:] = False
    error = (straight.rgb - ideal)[inside].abs()
    assert inside.float().mean() > 0.6
    assert error.max() < 1.5  # two roundings to 8 bits; worst seen 1.1 levels


def test_pixels_outside_the_photo_are_masked_and_no_others() -> None:
    lens = Lens(64, 48, 60.0, 60.0, 32.0, 24.0, "opencv", (0.3,))
    straight = undistort_view(
        StoredView(
            torch.full((48, 64, 3), 200, dtype=torch.uint8), None, None, torch.full((48, 64), 2.0)
        ),
        *source_grid(lens),
    )
    assert straight.mask is not None and straight.depth is not None
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    u, v = (x - 32) / 60, (y - 24) / 60
    growth = 1 + 0.3 * (u * u + v * v)
    expected = ((u * growth).abs() * 60 <= 32) & ((v * growth).abs() * 60 <= 24)
    assert torch.equal(straight.mask, expected) and not expected.all()
    assert torch.equal(straight.depth > 0, expected)
    assert (straight.rgb == 200).all()


def test_masked_source_pixels_mask_everything_they_touch() -> None:
    lens = Lens(64, 48, 60.0, 60.0, 32.0, 24.0, "opencv", (-0.1,))
    mask = torch.ones(48, 64, dtype=torch.bool)
    mask[20, 30] = False
    black = torch.zeros(48, 64, 3, dtype=torch.uint8)
    straight = undistort_view(StoredView(black, None, mask, None), *source_grid(lens))
    assert straight.mask is not None and not straight.mask[20, 30]
    assert 1 <= int((~straight.mask).sum()) <= 9


def test_polynomials_that_fold_back_are_cut_off() -> None:
    lens = Lens(100, 100, 30.0, 30.0, 50.0, 50.0, "opencv", (-0.2,))
    turning = 1 / math.sqrt(0.6)  # where the derivative of r - 0.2 r^3 vanishes
    assert lens.largest_radius() == pytest.approx(turning, abs=5e-3)
    _, inside = source_grid(lens)
    y, x = torch.meshgrid(torch.arange(100) + 0.5, torch.arange(100) + 0.5, indexing="ij")
    radius = torch.hypot(x - 50, y - 50) / 30
    assert not inside[radius > turning + 0.01].any() and inside[radius < turning - 0.01].all()


def test_lens_intrinsics_must_be_usable() -> None:
    with pytest.raises(ValueError, match="positive focal lengths, got fx 0"):
        Lens(10, 10, 0.0, 1.0, 5.0, 5.0)
    with pytest.raises(ValueError, match="must be finite"):
        Lens(10, 10, 1.0, 1.0, math.nan, 5.0)
