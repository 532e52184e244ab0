"""Rays, samplers and the general renderer on a field whose picture is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from captures import Similarity
from fields import Field, FieldScene, RayRenderer, Rays, camera_rays
from fields.rendering import SampledField
from fields.samplers import BrickGrid, OccupancyGrid, ProposalSampler, UniformSampler, resample

from . import scenes


class Fog:
    """A ball of constant density and colour."""

    channels = frozenset(("density", "color"))

    def __init__(self, radius: float = 0.5, density: float = 3.0) -> None:
        self.radius, self.value = radius, density

    def bounds(self) -> Tensor:
        return torch.tensor([[-1.0] * 3, [1.0] * 3]) * self.radius

    def density(self, points: Tensor) -> Tensor:
        return self.value * (points.norm(dim=-1) < self.radius)

    def color(self, points: Tensor, directions: Tensor) -> Tensor:
        return torch.tensor([0.2, 0.5, 0.9]).expand(points.shape)

    def density_and_color(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        return self.density(points), self.color(points, directions)


def expected_opacities(rays: Rays, fog: Fog) -> Tensor:
    """1 - exp(-density x length of the chord)."""
    along = (rays.origins * rays.directions).sum(1)
    inside = along.square() - rays.origins.square().sum(1) + fog.radius**2
    return 1 - torch.exp(-fog.value * 2 * inside.clamp(min=0).sqrt())


@pytest.mark.parametrize("kind", ["uniform", "occupancy", "proposal"])
def test_every_sampler_draws_the_fog_right(kind: str) -> None:
    fog = Fog()
    assert isinstance(fog, Field)
    if kind == "uniform":
        sampler = UniformSampler(fog.bounds(), 400)
    elif kind == "occupancy":
        sampler = OccupancyGrid(2 * fog.bounds(), step=0.005, resolution=32)
        for _ in range(4):
            sampler.update(fog.density, generator=torch.Generator().manual_seed(0))
        share = sampler.occupied.float().mean()
        assert math.pi / 6 / 8 < share < 0.14  # the ball's share of the box, and its dilation
    else:
        identity = (lambda t: t, lambda t: t)
        sampler = ProposalSampler(
            [fog.density], counts=[256, 512], near=0.2, far=2.0, spacing=identity
        )
    renderer = SampledField(fog, sampler, num_bytes=8, num_primitives=1)
    assert isinstance(renderer, RayRenderer)
    rays = camera_rays(scenes.ring(3, 24)[[1]])
    seen = renderer.render_rays(rays)
    torch.testing.assert_close(seen.opacities, expected_opacities(rays, fog), atol=0.03, rtol=0)
    colors = torch.tensor([0.2, 0.5, 0.9]) * seen.opacities[:, None]
    torch.testing.assert_close(seen.colors, colors)


def test_a_scene_renders_in_its_own_frame() -> None:
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    moved = Similarity(3.0, turn, torch.tensor([2.0, 1.0, -1.0]).double())
    fog = Fog()
    scene = FieldScene(SampledField(fog, UniformSampler(fog.bounds(), 64), 8, 1))
    cameras = scenes.ring(2, 20)
    plain = scene.render(cameras)
    other = replace(scene, T_scene_field=moved).render(moved.apply_to_cameras(cameras))
    for name in ("rgb", "alpha"):
        torch.testing.assert_close(plain.channel(name), other.channel(name), atol=2e-3, rtol=0)
    torch.testing.assert_close(
        3 * plain.channel("depth"), other.channel("depth"), atol=0.02, rtol=0
    )
    bounds = replace(scene, T_scene_field=moved).bounds()
    assert torch.allclose(bounds.mean(0), torch.tensor([2.0, 1.0, -1.0]))


@pytest.mark.parametrize("model", ["pinhole", "ortho", "fisheye"])
def test_rays_meet_the_pixels_of_points_on_them(model: str) -> None:
    cameras = replace(scenes.ring(1, 30), model=model)
    rays = camera_rays(cameras)
    points = rays.origins + 0.7 * rays.directions
    viewmat, K = cameras.viewmats[0].float(), cameras.Ks[0].float()
    local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    if model == "pinhole":
        plane = local[:, :2] / local[:, 2:]
    elif model == "ortho":
        plane = local[:, :2]
    else:
        radius = local[:, :2].norm(dim=1, keepdim=True)
        angle = torch.atan2(radius, local[:, 2:])
        plane = local[:, :2] / radius.clamp(min=1e-9) * angle
    pixels = plane * K.diagonal()[:2] + K[:2, 2]
    y, x = torch.meshgrid(torch.arange(30) + 0.5, torch.arange(30) + 0.5, indexing="ij")
    torch.testing.assert_close(pixels, torch.stack([x, y], -1).view(-1, 2), atol=2e-3, rtol=0)
    torch.testing.assert_close(local[:, 2], 0.7 * rays.depth_scales, atol=1e-5, rtol=0)


def test_distorted_cameras_are_refused() -> None:
    cameras = replace(scenes.ring(1, 8), distortion=torch.zeros(1, 4))
    with pytest.raises(ValueError, match="undistorted"):
        camera_rays(cameras)
    with pytest.raises(ValueError, match="one camera"):
        camera_rays(scenes.ring(2, 8))


def test_bricks_find_what_was_put_in_and_nothing_else() -> None:
    random = torch.Generator().manual_seed(0)
    cells = torch.unique(torch.randint(0, 40, (300, 3), generator=random), dim=0)
    grid = BrickGrid.build(cells, torch.arange(len(cells)), 40)
    assert torch.equal(grid.lookup(cells), torch.arange(len(cells)))
    dense = torch.full((40, 40, 40), -1)
    dense[cells[:, 0], cells[:, 1], cells[:, 2]] = torch.arange(len(cells))
    axis = torch.arange(-2, 43)
    every = torch.cartesian_prod(axis, axis, axis)
    inside = ((every >= 0) & (every < 40)).all(1)
    expected = torch.full((len(every),), -1)
    expected[inside] = dense.flatten()
    assert torch.equal(grid.lookup(every), expected)
    with pytest.raises(ValueError, match="outside of its box"):
        BrickGrid.build(cells + 10, torch.arange(len(cells)), 40)


def test_resampling_puts_equal_mass_into_every_interval() -> None:
    edges = torch.linspace(0, 1, 9).expand(5, -1) ** 2
    weights = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))
    found = resample(edges, weights, 16, padding=0.0)
    cumulative = torch.cat([torch.zeros(5, 1), weights.cumsum(1)], 1) / weights.sum(1, keepdim=True)
    for ray in range(5):
        index = torch.searchsorted(edges[ray].contiguous(), found[ray], right=True).clamp(1, 8)
        left, right = edges[ray][index - 1], edges[ray][index]
        share = (found[ray] - left) / (right - left)
        low, high = cumulative[ray][index - 1], cumulative[ray][index]
        torch.testing.assert_close(
            low + share * (high - low), torch.linspace(0, 1, 17), atol=1e-5, rtol=0
        )


def test_a_box_without_size_is_refused() -> None:
    with pytest.raises(ValueError, match="positive size"):
        OccupancyGrid(torch.zeros(2, 3), step=0.1)
