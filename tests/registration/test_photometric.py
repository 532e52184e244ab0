"""Refinement of poses by renders: it finds a small motion, and leaves a right pose alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from captures import Similarity
from registration import Registration
from registration.photometric import refine_by_renders
from splats import Gaussians


@pytest.fixture(scope="module")
def scene() -> Gaussians:
    """Colored Gaussians on a flattened ball: nothing looks the same from two sides."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(3000, 3, generator=generator), dim=1)
    waves = torch.sin(3 * directions @ torch.randn(3, 3, generator=generator))
    return Gaussians(
        means=directions * torch.tensor([1.0, 0.7, 0.5]),
        quats=torch.nn.functional.normalize(torch.randn(3000, 4, generator=generator), dim=1),
        log_scales=torch.full((3000, 3), math.log(0.03)),
        logit_opacities=torch.full((3000,), 3.0),
        sh0=1.5 * waves[:, None],
        shN=torch.zeros(3000, 0, 3),
    )


def moved(degrees: float, scale: float, shift: float) -> Similarity:
    """A turn about an oblique axis, growth and a shift along x."""
    axis = math.radians(degrees) * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    x, y, z = axis.tolist()
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return Similarity(scale, torch.linalg.matrix_exp(skew), torch.tensor([shift, 0, 0]).double())


def registration(pose: Similarity) -> Registration:
    """One that has no evidence of its own."""
    return Registration(pose.matrix().numpy(), pose.scale, 1.0, 0.0, 1.0, True)


def turn(found: Registration) -> float:
    """Degrees away from no motion."""
    gap = float((found.similarity.rotation - torch.eye(3, dtype=torch.float64)).norm())
    return math.degrees(2 * math.asin(gap / math.sqrt(8)))


def test_a_small_motion_is_found(scene: Gaussians) -> None:
    """Though a third of the source is not in the target: a lump that only one training has."""
    lump = replace(scene[:1000], means=0.2 * scene.means[:1000] + torch.tensor([1.0, 0, 0]))
    source = Gaussians(*(torch.cat(pair) for pair in zip(vars(scene).values(), vars(lump).values(),
                                                         strict=True)))  # fmt: skip
    start = registration(moved(1.5, 1.01, 0.01))
    result = refine_by_renders(start, source, scene, with_scale=True)
    assert turn(start) > 1.4 and turn(result.registration) < 0.05
    assert abs(result.registration.scale - 1) < 0.001
    assert result.errors[1] < 0.5 * result.errors[0]


def test_a_right_pose_is_left_alone(scene: Gaussians) -> None:
    """Where both differ by noise, moving one of them cannot help."""
    generator = torch.Generator().manual_seed(1)
    noisy = replace(scene, sh0=scene.sh0 + 0.3 * torch.randn(scene.sh0.shape, generator=generator))
    start = registration(moved(0.0, 1.0, 0.0))
    result = refine_by_renders(start, noisy, scene, with_scale=True)
    assert result.registration is start
    assert result.errors[0] == result.errors[1] > 0
