"""Parameters of Gaussians: shapes, selection, change of frame."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from captures import Similarity
from splats import Gaussians
from splats.gaussians import multiply_quats, rotmat_to_quat
from splats.rasterizer.projection import covariances, quats_to_rotmats


def make(count: int = 20, degree: int = 3) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.randn(count, 3, generator=generator),
        quats=torch.randn(count, 4, generator=generator),
        log_scales=torch.randn(count, 3, generator=generator),
        logit_opacities=torch.randn(count, generator=generator),
        sh0=torch.randn(count, 1, 3, generator=generator),
        shN=torch.randn(count, (degree + 1) ** 2 - 1, 3, generator=generator),
    )


def turn(angle: float, axis: tuple[float, float, float]) -> Tensor:
    x, y, z = torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float64), dim=0).tolist()
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.linalg.matrix_exp(angle * skew)


@pytest.mark.parametrize("degree", range(5))
def test_degree_and_size(degree: int) -> None:
    gaussians = make(7, degree)
    assert gaussians.sh_degree == degree and len(gaussians) == 7
    assert gaussians.num_bytes == 7 * 4 * (3 + 4 + 3 + 1 + 3 * (degree + 1) ** 2)


@pytest.mark.parametrize("index", [slice(2, 9), torch.tensor([5, 1, 1]), torch.arange(20) % 3 == 0])
def test_selection_keeps_rows_together(index: slice | Tensor) -> None:
    gaussians = make()
    chosen = gaussians[index]
    for field in fields(Gaussians):
        assert torch.equal(getattr(chosen, field.name), getattr(gaussians, field.name)[index])


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.zeros(20, 4)}, r"`means` must be \[N, 3\], got \[20, 4\]"),
        ({"quats": torch.zeros(19, 4)}, r"`quats` must be \[20, 4\], got \[19, 4\]"),
        ({"logit_opacities": torch.zeros(20, 1)}, r"`logit_opacities` must be \[20\], got"),
        ({"shN": torch.zeros(20, 5, 3)}, r"`shN` must hold 0, 3, 8, 15 or 24 .* got 5"),
    ],
)
def test_wrong_shapes_are_named(change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(make(), **change)


def test_bounds_ignore_outliers() -> None:
    gaussians = make(1000)
    means = gaussians.means.clone()
    means[:5] = 1e6
    low, high = replace(gaussians, means=means).bounds()
    assert (low < -1.5).all() and (high > 1.5).all() and (high < 10).all()
    assert torch.equal(make(0).bounds(), torch.zeros(2, 3))


@pytest.mark.parametrize("angle", [0.0, 1e-7, 0.3, math.pi / 2, math.pi - 1e-9, math.pi, 5.0])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, -2, 3)])
def test_rotmat_to_quat_and_back(angle: float, axis: tuple[float, float, float]) -> None:
    rotation = turn(angle, axis)
    quat = rotmat_to_quat(rotation)
    assert quat[0] >= 0
    torch.testing.assert_close(quat.norm().item(), 1.0)
    torch.testing.assert_close(quats_to_rotmats(quat), rotation, atol=1e-12, rtol=0)


def test_quaternion_product_is_the_product_of_rotations() -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 10, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        quats_to_rotmats(multiply_quats(a, b)), quats_to_rotmats(a) @ quats_to_rotmats(b)
    )


def test_change_of_frame_moves_means_and_covariances() -> None:
    gaussians = make()
    similarity = Similarity(
        scale=2.5,
        rotation=turn(2.0, (1, 2, -1)),
        translation=torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64),
    )
    moved = gaussians.transformed(similarity)
    torch.testing.assert_close(moved.means, similarity.apply(gaussians.means))
    linear = (similarity.scale * similarity.rotation).float()
    torch.testing.assert_close(
        covariances(moved.quats, moved.log_scales.exp()),
        linear @ covariances(gaussians.quats, gaussians.log_scales.exp()) @ linear.T,
        rtol=1e-4,
        atol=1e-4,
    )
    back = moved.transformed(similarity.inverse())
    for name in ("means", "log_scales", "logit_opacities", "sh0", "shN"):
        torch.testing.assert_close(
            getattr(back, name), getattr(gaussians, name), atol=1e-5, rtol=1e-5
        )
    # q and -q are one rotation.
    products = torch.nn.functional.cosine_similarity(back.quats, gaussians.quats).abs()
    torch.testing.assert_close(products, torch.ones(20))
