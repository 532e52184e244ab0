"""What keeps proposals honest and rays compact."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def interlevel_loss(
    edges: Float[Tensor, "R E"],
    weights: Float[Tensor, "R K"],
    proposal_edges: Float[Tensor, "R F"],
    proposal_weights: Float[Tensor, "R L"],
) -> Float[Tensor, ""]:
    """Mean over rays of how much weight the proposal does not cover; pulls on the proposal alone.

    A proposal bounds a histogram if each of its bins holds no more than the proposal's bins that
    it touches do together: sum_i max(0, w_i - bound_i)^2 / (w_i + eps).

    Args:
        edges: Ends of the K bins of the final samples, ascending.
        weights: Their weights.
        proposal_edges: Ends of the L bins of the proposal, over the same range.
        proposal_weights: Their weights.

    Reference: Barron et al., "Mip-NeRF 360", 2022, eq. 13.
    """
    edges, weights = edges.detach(), weights.detach()
    shares = torch.nn.functional.pad(proposal_weights.cumsum(dim=1), (1, 0))
    last = proposal_edges.shape[1] - 1
    held = proposal_edges.detach().contiguous()
    first = torch.searchsorted(held, edges[:, :-1].contiguous(), right=True) - 1
    behind = torch.searchsorted(held, edges[:, 1:].contiguous(), right=False)
    bound = shares.gather(1, behind.clamp(0, last)) - shares.gather(1, first.clamp(0, last))
    excess = (weights - bound).clamp(min=0)
    return (excess**2 / (weights + 1e-7)).sum(dim=1).mean()


def distortion_loss(
    edges: Float[Tensor, "R E"], weights: Float[Tensor, "R K"]
) -> Float[Tensor, ""]:
    """Mean over rays of sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 d_i, in O(K).

    `fields.volume.distortion_losses` for rays with equally many samples.
    Reference: Barron et al., "Mip-NeRF 360", 2022, eq. 15.
    """
    middles, lengths = (edges[:, 1:] + edges[:, :-1]) / 2, edges[:, 1:] - edges[:, :-1]
    moments = weights * middles
    before = weights.cumsum(dim=1) - weights
    moments_before = moments.cumsum(dim=1) - moments
    pairs = 2 * weights * (middles * before - moments_before)
    return (pairs + weights**2 * lengths / 3).sum(dim=1).mean()
