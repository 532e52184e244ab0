"""Gaussians moved by the 4x4 matrix of a scene node, as glTF and USD files hold them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from captures import Similarity
from captures.rotations import quats_to_rotmats, rotmats_to_quats

from ..gaussians import Gaussians
from ..sh import rotate_sh

_SIMILAR = 1e-5  # relative spread of the axes' lengths that files written in float32 show


def placed(gaussians: Gaussians, matrix: Float[Tensor, "4 4"]) -> Gaussians:
    """The same Gaussians after `x_target = matrix @ x_source`.

    Rotation, translation and uniform scale are exact. Unequal scales give the exact ellipsoids;
    their spherical harmonics turn with the rotation nearest to the matrix, since no harmonics
    look stretched.

    Args:
        gaussians: In the frame of the node.
        matrix: Float64 with the last row 0 0 0 1 and a positive determinant.

    Raises:
        ValueError: The matrix is not finite, mirrors or flattens, or is no affine map.
    """
    check_placement(matrix)
    if torch.equal(matrix, torch.eye(4, dtype=matrix.dtype)):
        return gaussians
    linear = matrix[:3, :3]
    left, lengths, right = torch.linalg.svd(linear)
    rotation = left @ right
    scale = float(lengths.log().mean().exp())
    if float(lengths[0] / lengths[2]) - 1 < _SIMILAR:
        return gaussians.transformed(Similarity(scale, rotation, matrix[:3, 3]))
    axes = quats_to_rotmats(gaussians.quats.double()) * gaussians.log_scales.double().exp()[:, None]
    directions, scales, _ = torch.linalg.svd(linear @ axes)
    directions[:, :, 2] *= torch.linalg.det(directions)[:, None]
    return Gaussians(
        means=(gaussians.means.double() @ linear.T + matrix[:3, 3]).float(),
        quats=rotmats_to_quats(directions).float(),
        log_scales=scales.log().float(),
        logit_opacities=gaussians.logit_opacities,
        sh0=gaussians.sh0,
        shN=rotate_sh(gaussians.shN, rotation),
    )


def check_placement(matrix: Float[Tensor, "4 4"]) -> None:
    """Refuse matrices that do not place Gaussians.

    Raises:
        ValueError: See `placed`.
    """
    if not bool(matrix.isfinite().all()):
        raise ValueError("the matrix is not finite.")
    if not torch.equal(matrix[3], torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=matrix.dtype)):
        raise ValueError("expected an affine matrix with the last row 0 0 0 1.")
    lengths = torch.linalg.svdvals(matrix[:3, :3])
    if not 1e-12 < float(lengths[2]) <= float(lengths[0]) < 1e12:
        raise ValueError(f"expected scales from 1e-12 to 1e12, got {lengths.tolist()}.")
    if float(torch.linalg.det(matrix[:3, :3] / lengths[0])) < 0:
        raise ValueError("the matrix mirrors; Gaussians can only be rotated, moved and scaled.")
