"""Projection of 3D Gaussians to the image plane in plain torch (EWA splatting).

Reference: Zwicker et al., "EWA Volume Splatting", 2001; the clamps and the culling are those of
gsplat (Ye et al., "gsplat: An Open-Source Library for Gaussian Splatting", JMLR 2025).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .backend import (
    ALPHA_THRESHOLD,
    MAX_EXTENT,
    MIN_COMPENSATION,
    CameraModel,
    Projection,
)

FOV_MARGIN = 0.3
"""Share of the half field of view by which a pinhole Jacobian may lie outside the image."""


def quats_to_rotmats(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of (w, x, y, z) quaternions, which are normalised here."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def covariances(
    quats: Float[Tensor, "*batch 4"], scales: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 3 3"]:
    """R diag(scales^2) R^T in world units squared."""
    factors = quats_to_rotmats(quats) * scales[..., None, :]
    return factors @ factors.mT


def project(
    means: Float[Tensor, "N 3"],
    covars: Float[Tensor, "N 3 3"],
    opacities: Float[Tensor, "N"],
    viewmats: Float[Tensor, "C 4 4"],
    Ks: Float[Tensor, "C 3 3"],
    width: int,
    height: int,
    *,
    eps2d: float,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
    antialiased: bool,
    camera_model: CameraModel,
) -> Projection:
    """Projected Gaussians; see `Backend.project` for what is culled and what the rows hold."""
    rotations = viewmats[:, :3, :3]
    means_c = means @ rotations.mT + viewmats[:, None, :3, 3]
    in_range = (means_c[..., 2] >= near_plane) & (means_c[..., 2] <= far_plane)
    # A stand-in on the optical axis keeps divisions by z, and their gradients, finite.
    stand_in = means_c.new_tensor([0.0, 0.0, 1.0])
    means_c = torch.where(in_range[..., None], means_c, stand_in)
    means2d, jacobians = _PROJECTIONS[camera_model](means_c, Ks[:, None], width, height)

    turned = jacobians @ rotations[:, None]
    cov2d = turned @ covars @ turned.mT
    a, b, c = cov2d[..., 0, 0], cov2d[..., 0, 1], cov2d[..., 1, 1]
    det_sharp = a * c - b * b
    a, c = a + eps2d, c + eps2d
    det = a * c - b * b
    in_range = in_range & (det > 0)
    det = torch.where(in_range, det, 1)
    compensations = None
    if antialiased:
        compensations = (det_sharp / det).clamp_min(MIN_COMPENSATION**2).sqrt()

    radii = _box_sizes(a, c, opacities if compensations is None else opacities * compensations)
    visible = in_range & _in_image(means2d, radii, width, height, radius_clip)
    return Projection(
        radii=torch.where(visible[..., None], radii, 0).to(torch.int32),
        means2d=torch.where(visible[..., None], means2d, 0),
        depths=torch.where(visible, means_c[..., 2], 0),
        conics=torch.where(visible[..., None], torch.stack([c, -b, a], dim=-1) / det[..., None], 0),
        compensations=None if compensations is None else torch.where(visible, compensations, 0),
    )


@torch.no_grad()
def _box_sizes(
    cov_xx: Float[Tensor, "C N"], cov_yy: Float[Tensor, "C N"], opacities: Float[Tensor, "*C N"]
) -> Float[Tensor, "C N 2"]:
    """Half-sizes in whole pixels of the box where alpha >= 1/255; 0 where there is none."""
    # NaN opacities and covariances fall through `>=` and `nan_to_num` to an empty box.
    reach = (2 * (opacities / ALPHA_THRESHOLD).log().clamp_min(0)).sqrt().clamp_max(MAX_EXTENT)
    sizes = reach[..., None] * torch.stack([cov_xx, cov_yy], dim=-1).sqrt()
    return torch.where((opacities >= ALPHA_THRESHOLD)[..., None], sizes, 0).nan_to_num().ceil()


@torch.no_grad()
def _in_image(
    means2d: Float[Tensor, "C N 2"],
    radii: Float[Tensor, "C N 2"],
    width: int,
    height: int,
    radius_clip: float,
) -> Bool[Tensor, "C N"]:
    """Which boxes are larger than `radius_clip`, not empty, and meet the image."""
    size = means2d.new_tensor([width, height])
    meets = ((means2d + radii > 0) & (means2d - radii < size)).all(dim=-1)
    return meets & (radii > 0).all(dim=-1) & (radii > radius_clip).any(dim=-1)


def _pinhole(
    means: Float[Tensor, "C N 3"], Ks: Float[Tensor, "C 1 3 3"], width: int, height: int
) -> tuple[Float[Tensor, "C N 2"], Float[Tensor, "C N 2 3"]]:
    """Perspective projection and its Jacobian, the latter taken at a point clamped to the view."""
    x, y, z = means.unbind(-1)
    fx, fy, cx, cy = _intrinsics(Ks)
    margin_x, margin_y = FOV_MARGIN * 0.5 * width / fx, FOV_MARGIN * 0.5 * height / fy
    u = (x / z).clamp(-cx / fx - margin_x, (width - cx) / fx + margin_x)
    v = (y / z).clamp(-cy / fy - margin_y, (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = [fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z]
    return (
        torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1),
        torch.stack(jacobian, dim=-1).unflatten(-1, (2, 3)),
    )


def _ortho(
    means: Float[Tensor, "C N 3"], Ks: Float[Tensor, "C 1 3 3"], width: int, height: int
) -> tuple[Float[Tensor, "C N 2"], Float[Tensor, "C N 2 3"]]:
    """Orthographic projection; focal lengths are pixels per world unit."""
    x, y, z = means.unbind(-1)
    fx, fy, cx, cy = _intrinsics(Ks)
    zero, one = torch.zeros_like(z), torch.ones_like(z)
    jacobian = [fx * one, zero, zero, zero, fy * one, zero]
    return (
        torch.stack([fx * x + cx, fy * y + cy], dim=-1),
        torch.stack(jacobian, dim=-1).unflatten(-1, (2, 3)),
    )


def _fisheye(
    means: Float[Tensor, "C N 3"], Ks: Float[Tensor, "C 1 3 3"], width: int, height: int
) -> tuple[Float[Tensor, "C N 2"], Float[Tensor, "C N 2 3"]]:
    """Equidistant fisheye: the distance from the principal point is f times the angle."""
    x, y, z = means.unbind(-1)
    fx, fy, cx, cy = _intrinsics(Ks)
    # The offset, far below a pixel, keeps the square root differentiable on the axis.
    r2 = x * x + y * y + 1e-14 * z * z
    r = r2.sqrt()
    ratio = torch.atan2(r, z) / r
    inv_d2 = 1 / (r2 + z * z)
    slope = (z * inv_d2 - ratio) / r2
    jacobian = [
        fx * (ratio + slope * x * x),
        fx * slope * x * y,
        -fx * x * inv_d2,
        fy * slope * x * y,
        fy * (ratio + slope * y * y),
        -fy * y * inv_d2,
    ]
    return (
        torch.stack([fx * ratio * x + cx, fy * ratio * y + cy], dim=-1),
        torch.stack(jacobian, dim=-1).unflatten(-1, (2, 3)),
    )


def _intrinsics(Ks: Float[Tensor, "*batch 3 3"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return Ks[..., 0, 0], Ks[..., 1, 1], Ks[..., 0, 2], Ks[..., 1, 2]


_PROJECTIONS = {"pinhole": _pinhole, "ortho": _ortho, "fisheye": _fisheye}
