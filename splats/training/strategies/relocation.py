"""Opacity and scale of N coincident Gaussians that together look like one."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

MAX_COPIES = 51
"""More copies than this are treated as this many, as in the paper's code: the series would need
more than double precision, and such a crowd has hardly any opacity left per copy."""


def relocated(
    opacities: Float[Tensor, " M"], scales: Float[Tensor, "M 3"], counts: Int[Tensor, " M"]
) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
    """Opacity and scales that each of `counts` coincident copies gets in place of one Gaussian.

    With o' = 1 - (1 - o)^(1/N) the copies composite to the opacity o at the center, and scaling
    by o / sum_j C(N, j) (-1)^(j+1) o'^j / sqrt(j) keeps the integral along any line through it.

    Args:
        opacities: In [0, 1).
        scales: Standard deviations, world units.
        counts: N >= 1, the original included.

    Returns:
        New opacities and scales, in the dtype of the inputs.

    Reference: Kheradmand et al., "3D Gaussian Splatting as Markov Chain Monte Carlo", 2024,
    eq. 9; its double sum over i and k equals this single sum because sum_i C(i-1, k) = C(N, k+1).
    """
    old = opacities.double()
    n = counts.clamp(1, MAX_COPIES).double()[:, None]
    new = -torch.expm1(torch.log1p(-old) / n[:, 0])
    j = torch.arange(1, MAX_COPIES + 1, dtype=torch.float64, device=old.device)
    # C(N, j) through lgamma is infinite or NaN for j > N, where the series has no term.
    log_choose = torch.lgamma(n + 1) - torch.lgamma(j + 1) - torch.lgamma((n - j).clamp(min=0) + 1)
    sign = 1 - 2 * ((j + 1) % 2)
    log_power = j * torch.log(new.clamp(min=1e-300))[:, None]
    terms = sign * torch.exp(log_choose + log_power) / j.sqrt()
    total = torch.where(j <= n, terms, 0.0).sum(dim=1)
    factor = torch.where(old > 0, old / total.clamp(min=1e-300), 1.0)
    return new.to(opacities), (factor[:, None] * scales.double()).to(scales)
