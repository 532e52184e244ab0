"""Gradients of the torch reference against finite differences, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor


def check(scene: Any, **options: Any) -> None:
    """Compare autograd of all differentiable inputs of `scene` with central differences."""
    leaves = scene.with_gradients().leaves()
    # Weights make every pixel and channel count differently.
    generator = torch.Generator().manual_seed(5)

    def render(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        image, alpha, _ = replace(scene, **dict(zip(leaves, tensors, strict=True))).render(
            backend="reference", **options
        )
        return image, alpha

    image, alpha = render(*leaves.values())
    weights = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in (image, alpha)]

    def loss(*tensors: Tensor) -> Tensor:
        rendered = zip(weights, render(*tensors), strict=True)
        return torch.stack([(w * t).sum() for w, t in rendered]).sum()

    assert torch.autograd.gradcheck(loss, tuple(leaves.values()), eps=1e-6, atol=1e-5, rtol=1e-4)


@pytest.fixture
def scene(make_scene: Any) -> Any:
    """Few large Gaussians on few pixels, two cameras; one Gaussian is behind both."""
    return make_scene(5, cameras=2, size=(6, 5), scale=0.6)


@pytest.mark.parametrize("camera_model", ["pinhole", "ortho", "fisheye"])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_camera_models(scene, camera_model: str, rasterize_mode: str) -> None:
    check(scene, camera_model=camera_model, rasterize_mode=rasterize_mode)


@pytest.mark.parametrize("render_mode", ["D", "ED", "RGB+D", "RGB+ED"])
def test_render_modes(scene, render_mode: str) -> None:
    check(scene, render_mode=render_mode)


@pytest.mark.parametrize("sh_degree", [0, 1, 4])
def test_spherical_harmonics(make_scene, sh_degree: int) -> None:
    check(make_scene(4, size=(5, 4), scale=0.6, sh_degree=sh_degree))


def test_many_channels_in_chunks(make_scene) -> None:
    check(make_scene(4, size=(5, 4), scale=0.6, channels=6))


def test_special_gaussians(scene) -> None:
    """Opacity 0 and 1, an axis-aligned one, a flat one, one far outside the field of view."""
    opacities = scene.opacities.clone()
    opacities[1], opacities[2] = 0, 0.98
    quats, scales, means = scene.quats.clone(), scene.scales.clone(), scene.means.clone()
    quats[2] = torch.tensor([1.0, 0, 0, 0])
    scales[3, 1] = 1e-4
    means[4] = torch.tensor([5.0, 0.2, 2.0])
    scales[4] = 2.0
    check(replace(scene, means=means, quats=quats, scales=scales, opacities=opacities))


def test_covariances(scene) -> None:
    """Symmetric perturbations only: a covariance has six free entries."""
    from splats.rasterizer.projection import covariances

    full = covariances(scene.quats, scene.scales)
    rows, columns = torch.triu_indices(3, 3)
    upper = full[:, rows, columns].requires_grad_()

    def loss(values: Tensor) -> Tensor:
        covars = torch.zeros(len(values), 3, 3, dtype=values.dtype)
        covars[:, rows, columns] = values
        covars = covars + covars.triu(1).mT
        image, alpha, _ = scene.render(backend="reference", covars=covars, quats=None, scales=None)
        return image.square().sum() + alpha.sum()

    assert torch.autograd.gradcheck(loss, upper, eps=1e-6, atol=1e-5, rtol=1e-4)


def test_gaussian_on_the_optical_axis_of_a_fisheye_camera(make_scene) -> None:
    """There both the radius and its derivative vanish, yet the projection is smooth."""
    scene = make_scene(1, size=(5, 4), scale=0.6)
    means = torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64)
    viewmats = torch.eye(4, dtype=torch.float64)[None]
    scene = replace(scene, means=means, viewmats=viewmats).with_gradients()
    gradients = []
    for camera_model in ("fisheye", "pinhole"):
        image = scene.render(backend="reference", camera_model=camera_model)[0]
        gradients.append(torch.autograd.grad(image.square().sum(), scene.means)[0])
    assert torch.isfinite(gradients[0]).all()
    # Both models have the same first derivative there; their curvature differs along z only.
    torch.testing.assert_close(gradients[0][:, :2], gradients[1][:, :2], atol=1e-2, rtol=0.1)
