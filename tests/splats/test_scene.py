"""A scene looks the same in whatever frame and unit it is written."""

from __future__ import annotations

import math

import pytest
import torch

from captures import Cameras, Similarity
from splats.gaussians import Gaussians
from splats.scene import SplatScene, near_plane


def some_gaussians(count: int) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.randn(count, 3, generator=generator),
        quats=torch.randn(count, 4, generator=generator),
        log_scales=torch.full((count, 3), -2.0),
        logit_opacities=torch.zeros(count),
        sh0=torch.randn(count, 1, 3, generator=generator),
        shN=torch.randn(count, 3, 3, generator=generator) * 0.1,
    )


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_picture_is_the_same_in_every_unit_also_from_within(scale: float) -> None:
    gaussians, angle = some_gaussians(300), 0.7
    turn = [[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]]
    rotation = torch.tensor([*turn, [0.0, 0.0, 1.0]], dtype=torch.float64)
    shift = torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64) * scale
    similarity = Similarity(scale=scale, rotation=rotation, translation=shift)
    K = torch.tensor([[30.0, 0, 20], [0, 30, 15], [0, 0, 1]], dtype=torch.float64)
    cameras = Cameras(torch.eye(4, dtype=torch.float64)[None], K[None], 40, 30)
    before = SplatScene(gaussians).render(cameras)
    moved = SplatScene(gaussians.transformed(similarity))
    after = moved.render(similarity.apply_to_cameras(cameras))
    torch.testing.assert_close(after.rgb, before.rgb, atol=1e-3, rtol=0)
    depth = after.channel("depth") / scale
    torch.testing.assert_close(depth, before.depth, atol=1e-3, rtol=1e-3)


def test_near_plane_grows_with_the_scene_and_ignores_a_sky() -> None:
    gaussians = some_gaussians(1000)
    near = near_plane(gaussians)
    assert near_plane(gaussians.transformed(Similarity(scale=50.0))) == pytest.approx(50 * near)
    gaussians.means[:200] *= 1e4
    assert near_plane(gaussians) < 1.5 * near
    assert near_plane(gaussians[:0]) > 0 and near_plane(gaussians[:1]) > 0
