"""The spherical-harmonic basis: signs and constants of the literature, and its rotation."""

from __future__ import annotations

import math

import pytest
import torch

from splats.sh import num_sh_bases, rotate_sh, sh_basis, sh_rotation

# Coefficients of the polynomials as the splat literature prints them (Plenoxels and 3DGS to
# degree 3, svox2 for degree 4), each written in homogeneous or reduced form on the unit sphere.
PUBLISHED = [
    lambda x, y, z: 0.28209479177387814,
    lambda x, y, z: -0.4886025119029199 * y,
    lambda x, y, z: 0.4886025119029199 * z,
    lambda x, y, z: -0.4886025119029199 * x,
    lambda x, y, z: 1.0925484305920792 * x * y,
    lambda x, y, z: -1.0925484305920792 * y * z,
    lambda x, y, z: 0.31539156525252005 * (2 * z * z - x * x - y * y),
    lambda x, y, z: -1.0925484305920792 * x * z,
    lambda x, y, z: 0.5462742152960396 * (x * x - y * y),
    lambda x, y, z: -0.5900435899266435 * y * (3 * x * x - y * y),
    lambda x, y, z: 2.890611442640554 * x * y * z,
    lambda x, y, z: -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
    lambda x, y, z: 0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
    lambda x, y, z: -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
    lambda x, y, z: 1.445305721320277 * z * (x * x - y * y),
    lambda x, y, z: -0.5900435899266435 * x * (x * x - 3 * y * y),
    lambda x, y, z: 2.5033429417967046 * x * y * (x * x - y * y),
    lambda x, y, z: -1.7701307697799304 * y * z * (3 * x * x - y * y),
    lambda x, y, z: 0.9461746957575601 * x * y * (7 * z * z - 1),
    lambda x, y, z: -0.6690465435572892 * y * z * (7 * z * z - 3),
    lambda x, y, z: 0.10578554691520431 * (z * z * (35 * z * z - 30) + 3),
    lambda x, y, z: -0.6690465435572892 * x * z * (7 * z * z - 3),
    lambda x, y, z: 0.47308734787878004 * (x * x - y * y) * (7 * z * z - 1),
    lambda x, y, z: -1.7701307697799304 * x * z * (x * x - 3 * y * y),
    lambda x, y, z: (
        0.6258357354491761 * (x * x * (x * x - 3 * y * y) - y * y * (3 * x * x - y * y))
    ),
]


def random_rotation(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    return torch.linalg.matrix_exp(3 * (matrix - matrix.T))


@pytest.mark.parametrize("degree", range(5))
def test_basis_is_the_published_one(degree: int) -> None:
    generator = torch.Generator().manual_seed(degree)
    directions = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    expected = torch.stack(
        [
            torch.tensor([term(*d) for d in directions.tolist()], dtype=torch.float64)
            for term in PUBLISHED[: num_sh_bases(degree)]
        ],
        dim=-1,
    )
    torch.testing.assert_close(sh_basis(degree, directions), expected, atol=1e-15, rtol=1e-14)


def test_basis_is_orthonormal() -> None:
    """Gauss-Legendre in z and equal steps in azimuth integrate degree 8 products exactly."""
    nodes = torch.linspace(0, 2 * math.pi, 18, dtype=torch.float64)[:-1]
    z = torch.tensor(  # roots of the Legendre polynomial P5, exact to degree 9
        [-0.906179845938664, -0.5384693101056831, 0.0, 0.5384693101056831, 0.906179845938664],
        dtype=torch.float64,
    )
    weights = torch.tensor(
        [
            0.23692688505618908,
            0.47862867049936647,
            0.5688888888888889,
            0.47862867049936647,
            0.23692688505618908,
        ],
        dtype=torch.float64,
    )
    radius = (1 - z * z).sqrt()[:, None]
    directions = torch.stack(
        [radius * nodes.cos(), radius * nodes.sin(), z[:, None].expand(-1, 17)], dim=-1
    ).reshape(-1, 3)
    basis = sh_basis(4, directions)
    area = (weights[:, None] * 2 * math.pi / 17).expand(-1, 17).reshape(-1, 1)
    torch.testing.assert_close(basis.T @ (area * basis), torch.eye(25, dtype=torch.float64))


@pytest.mark.parametrize("degree", range(5))
def test_rotation_matrix_turns_the_function(degree: int) -> None:
    rotation = random_rotation(degree)
    matrix = sh_rotation(degree, rotation)
    directions = torch.nn.functional.normalize(
        torch.randn(30, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64), dim=-1
    )
    # The turned function at R d is the old one at d.
    coefficients = torch.arange(num_sh_bases(degree), dtype=torch.float64) + 1
    torch.testing.assert_close(
        sh_basis(degree, directions @ rotation.T) @ (matrix @ coefficients),
        sh_basis(degree, directions) @ coefficients,
    )
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix), dtype=torch.float64))


def test_rotations_compose() -> None:
    first, second = random_rotation(1), random_rotation(2)
    torch.testing.assert_close(
        sh_rotation(4, second) @ sh_rotation(4, first), sh_rotation(4, second @ first)
    )


@pytest.mark.parametrize("degree", range(5))
def test_rotate_sh_there_and_back(degree: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shN = torch.randn(11, num_sh_bases(degree) - 1, 3, generator=generator)
    rotation = random_rotation(4)
    turned = rotate_sh(shN, rotation)
    assert turned.dtype == torch.float32 and turned.shape == shN.shape
    assert degree == 0 or (turned - shN).abs().max() > 0.1
    torch.testing.assert_close(rotate_sh(turned, rotation.T), shN, atol=1e-5, rtol=0)
    assert rotate_sh(shN, torch.eye(3, dtype=torch.float64)) is shN


def test_degree_outside_0_to_4_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`degree` must be 0 to 4, got 5"):
        sh_basis(5, torch.zeros(1, 3))
