"""Exploration noise of the MCMC strategy: shaped by the covariance, gated by the opacity."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ..kernels import native_kernels_for
from ..parameters import Parameters

STEEPNESS = 100.0
"""k of the gate sigmoid(-k (opacity - THRESHOLD))."""
THRESHOLD = 0.005
"""Opacity at which half of the noise passes; Gaussians above about 0.2 get none."""


@torch.no_grad()
def add_position_noise(params: Parameters, normals: Float[Tensor, "N 3"], *, scale: float) -> None:
    """Moves every mean by scale * gate(opacity) * covariance @ normal, in place.

    Args:
        params: Only the means change.
        normals: Standard normal vectors.
        scale: Learning rate of the means times the noise setting.

    Reference: Kheradmand et al., "3D Gaussian Splatting as Markov Chain Monte Carlo", 2024, eq. 8.
    """
    names = ("means", "quats", "log_scales", "logit_opacities")
    tensors = [params[name].detach() for name in names]
    native = native_kernels_for(*tensors, normals)
    if native is None:
        means, quats, log_scales, logits = tensors
        means += position_noise_reference(quats, log_scales, logits, normals, scale=scale)
    else:
        native.position_noise(*tensors, normals, scale, STEEPNESS, THRESHOLD)


def position_noise_reference(
    quats: Float[Tensor, "N 4"],
    log_scales: Float[Tensor, "N 3"],
    logit_opacities: Float[Tensor, " N"],
    normals: Float[Tensor, "N 3"],
    *,
    scale: float,
) -> Float[Tensor, "N 3"]:
    """The displacement of every mean in plain torch: the definition of the native kernel."""
    gate = torch.sigmoid(-STEEPNESS * (torch.sigmoid(logit_opacities) - THRESHOLD))
    along = rotate(quats, normals, inverse=True) * torch.exp(2 * log_scales)
    return scale * gate[:, None] * rotate(quats, along)


def rotate(
    quats: Float[Tensor, "N 4"], vectors: Float[Tensor, "N 3"], *, inverse: bool = False
) -> Float[Tensor, "N 3"]:
    """Each vector turned by its quaternion (w, x, y, z) of any non-zero length, or turned back."""
    w, axis = normalize(quats, dim=-1).split([1, 3], dim=-1)
    if inverse:
        axis = -axis
    twice = 2 * torch.linalg.cross(axis, vectors)
    return vectors + w * twice + torch.linalg.cross(axis, twice)
