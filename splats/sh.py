"""Real spherical harmonics as splats use them: basis, evaluation and rotation."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

SH_C0 = 0.28209479177387814
"""Degree-0 basis value 1 / (2 sqrt(pi)); colour = 0.5 + SH_C0 * sh0 at degree 0."""


def num_sh_bases(degree: int) -> int:
    """(degree + 1)^2, the number of basis functions up to `degree`."""
    return (degree + 1) ** 2


def sh_basis(degree: int, directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch K"]:
    """Values of the real basis functions with the Condon-Shortley signs of the 3DGS literature.

    Args:
        degree: 0 to 4.
        directions: Unit vectors.

    Reference: Sloan, "Efficient Spherical Harmonic Evaluation", JCGT 2(2), 2013.
    """
    if not 0 <= degree <= 4:
        raise ValueError(f"`degree` must be 0 to 4, got {degree}.")
    x, y, z = directions.unbind(-1)
    bases = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        c = math.sqrt(3 / (4 * math.pi))
        bases += [-c * y, c * z, -c * x]
    if degree >= 2:
        a = math.sqrt(15 / (4 * math.pi))
        bases += [
            a * x * y,
            -a * y * z,
            math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1),
            -a * x * z,
            a / 2 * (x * x - y * y),
        ]
    if degree >= 3:
        a = math.sqrt(35 / (32 * math.pi))
        b = math.sqrt(105 / (4 * math.pi))
        c = math.sqrt(21 / (32 * math.pi))
        bases += [
            -a * y * (3 * x * x - y * y),
            b * x * y * z,
            -c * y * (5 * z * z - 1),
            math.sqrt(7 / (16 * math.pi)) * z * (5 * z * z - 3),
            -c * x * (5 * z * z - 1),
            b / 2 * z * (x * x - y * y),
            -a * x * (x * x - 3 * y * y),
        ]
    if degree >= 4:
        a = math.sqrt(35 / math.pi) * 3 / 4
        b = math.sqrt(35 / (2 * math.pi)) * 3 / 4
        c = math.sqrt(5 / math.pi) * 3 / 4
        d = math.sqrt(5 / (2 * math.pi)) * 3 / 4
        bases += [
            a * x * y * (x * x - y * y),
            -b * y * z * (3 * x * x - y * y),
            c * x * y * (7 * z * z - 1),
            -d * y * z * (7 * z * z - 3),
            3 / 16 / math.sqrt(math.pi) * (35 * z**4 - 30 * z * z + 3),
            -d * x * z * (7 * z * z - 3),
            c / 2 * (x * x - y * y) * (7 * z * z - 1),
            -b * x * z * (x * x - 3 * y * y),
            a / 4 * (x * x * (x * x - 3 * y * y) - y * y * (3 * x * x - y * y)),
        ]
    return torch.stack(bases, dim=-1)


def sh_rotation(degree: int, rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "K K"]:
    """Matrix M with coefficients' = M @ coefficients for content turned by `rotation`.

    Turned content looks in direction d as it did before in direction R^T d, so
    basis(d) @ M = basis(R^T d) for every d. M is solved from a well-spread set of directions
    and is exact to rounding because the spaces of each degree are rotation invariant.
    """
    count = 8 * num_sh_bases(degree)
    index = torch.arange(count, dtype=torch.float64)
    z = 1 - (2 * index + 1) / count
    azimuth = index * math.pi * (3 - math.sqrt(5))  # golden-angle spiral
    radius = (1 - z * z).sqrt()
    directions = torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), z], dim=-1)
    rotation = rotation.to(torch.float64)
    return torch.linalg.lstsq(
        sh_basis(degree, directions), sh_basis(degree, directions @ rotation)
    ).solution


def rotate_sh(
    shN: Float[Tensor, "N rest 3"], rotation: Float[Tensor, "3 3"]
) -> Float[Tensor, "N rest 3"]:
    """Higher-degree coefficients (degree >= 1) of the same content turned by `rotation`."""
    degree = round((shN.shape[1] + 1) ** 0.5) - 1
    if degree == 0 or torch.equal(rotation, torch.eye(3, dtype=rotation.dtype)):
        return shN
    matrix = sh_rotation(degree, rotation)[1:, 1:].to(shN)
    return torch.einsum("ij,njc->nic", matrix, shN)
