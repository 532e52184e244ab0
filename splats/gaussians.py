"""The parameters of a set of 3D Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from captures import Similarity, ensure_shape

from .sh import rotate_sh


@dataclass(frozen=True)
class Gaussians:
    """N Gaussians in pre-activation form, float32."""

    means: Float[Tensor, "N 3"]
    """Centres, world units."""
    quats: Float[Tensor, "N 4"]
    """Rotations (w, x, y, z), not assumed normalised."""
    log_scales: Float[Tensor, "N 3"]
    """Natural log of the standard deviations, world units."""
    logit_opacities: Float[Tensor, "N"]
    """Opacity before the sigmoid."""
    sh0: Float[Tensor, "N 1 3"]
    """Degree-0 spherical-harmonic coefficient; colour = 0.5 + 0.28209 * sh0 + ..."""
    shN: Float[Tensor, "N rest 3"]
    """Higher coefficients, K = (degree + 1)^2; [N, 0, 3] for degree 0."""

    def __post_init__(self) -> None:
        num = len(self.means)
        ensure_shape("means", self.means, ("N", 3))
        ensure_shape("quats", self.quats, (num, 4))
        ensure_shape("log_scales", self.log_scales, (num, 3))
        ensure_shape("logit_opacities", self.logit_opacities, (num,))
        ensure_shape("sh0", self.sh0, (num, 1, 3))
        ensure_shape("shN", self.shN, (num, "K-1", 3))
        if self.shN.shape[1] not in (0, 3, 8, 15, 24):
            raise ValueError(
                f"`shN` must hold 0, 3, 8, 15 or 24 coefficients (degree 0 to 4), "
                f"got {self.shN.shape[1]}."
            )

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: Tensor | slice) -> Gaussians:
        """The chosen Gaussians, in the order of `index` (bool mask, int64 or slice)."""
        return Gaussians(*(getattr(self, item.name)[index] for item in fields(self)))

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 4."""
        return round((1 + self.shN.shape[1]) ** 0.5) - 1

    @property
    def num_bytes(self) -> int:
        """Bytes of the float32 parameters."""
        return sum(getattr(self, item.name).nbytes for item in fields(self))

    def bounds(self) -> Float[Tensor, "2 3"]:
        """Corners (min, max) of the box that holds the central 98 % of the means on each axis."""
        if len(self) == 0:
            return torch.zeros(2, 3)
        ordered = self.means.detach().sort(dim=0).values
        cut = int(0.01 * len(self))
        return torch.stack([ordered[cut], ordered[len(self) - 1 - cut]])

    def transformed(self, similarity: Similarity) -> Gaussians:
        """The same appearance in another frame: means, scales, rotations and SH move together."""
        quats = multiply_quats(rotmat_to_quat(similarity.rotation).to(self.quats), self.quats)
        return Gaussians(
            means=similarity.apply(self.means.double()).to(self.means),
            quats=quats,
            log_scales=self.log_scales + math.log(similarity.scale),
            logit_opacities=self.logit_opacities,
            sh0=self.sh0,
            shN=rotate_sh(self.shN, similarity.rotation),
        )


def multiply_quats(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Tensor:
    """Hamilton product a * b of (w, x, y, z) quaternions: the rotation `b` followed by `a`."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def rotmat_to_quat(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "4"]:
    """Unit quaternion (w, x, y, z), w >= 0, of a proper rotation matrix.

    It is the dominant eigenvector of a symmetric 4x4 matrix (Bar-Itzhack 2000), which stays
    well conditioned at every angle, half turns included.
    """
    r = rotation.double()
    k = torch.tensor(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1]],
        ],
        dtype=torch.float64,
    )
    quat = torch.linalg.eigh(k).eigenvectors[:, -1]
    return quat if quat[0] >= 0 else -quat
