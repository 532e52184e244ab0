"""Rotation matrices and unit quaternions, float64."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def quats_to_rotmats(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices R (v_world = R @ v_local) of quaternions (w, x, y, z) of any length > 0."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def rotmats_to_quats(rotmats: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (w, x, y, z), w >= 0, of proper rotation matrices.

    The eigenvector of the largest eigenvalue of Bar-Itzhack's symmetric 4x4 matrix: exact for
    rotations and the nearest rotation for matrices that are only almost orthogonal.
    Reference: Bar-Itzhack, "New method for extracting the quaternion from a rotation matrix",
    Journal of Guidance, Control, and Dynamics 23(6), 2000, equation 12.
    """
    r = rotmats
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    symmetric, skew = r + r.mT, r - r.mT
    xy, yz, zx = symmetric[..., 1, 0], symmetric[..., 2, 1], symmetric[..., 0, 2]
    wx, wy, wz = skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]
    rows = [
        xx + yy + zz, wx, wy, wz,
        wx, xx - yy - zz, xy, zx,
        wy, xy, yy - xx - zz, yz,
        wz, zx, yz, zz - xx - yy,
    ]  # fmt: skip
    matrix = torch.stack(rows, dim=-1).unflatten(-1, (4, 4))
    quats = torch.linalg.eigh(matrix).eigenvectors[..., -1]
    return torch.where(quats[..., :1] < 0, -quats, quats)
