"""Spans of neighborhood moments as differentiable functions of colors.

Reference: Haitman, Efraim and Francos, "UMERegRobust", ECCV 2024, sections 3.1, 3.2 and the
contrastive loss of 3.4: moments F = sum f(x) [1, x], distance d = ||P - P'|| / sqrt 2 of the
projectors on the spans of F.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor, nn


def moment_bases(
    points: Float[np.ndarray, "N 3"],
    colors: Float[Tensor, "N C"],
    keypoints: Int[np.ndarray, "K"],
    radius: float,
) -> Float[Tensor, "K C 4"]:
    """Orthonormal bases of the moments of the neighborhoods of some of the points."""
    near = KDTree(points).query_ball_point(points[keypoints], radius)
    which = torch.from_numpy(np.repeat(np.arange(len(near)), [len(row) for row in near]))
    member = np.concatenate([np.asarray(row) for row in near])
    away = (points[member] - points[keypoints][which.numpy()]) / radius
    lifted = torch.from_numpy(np.concatenate([np.ones((len(away), 1)), away], axis=1)).to(colors)
    # index_select, as the gradient of an index is added up in any order by several threads.
    shares = colors.index_select(0, torch.from_numpy(member))
    products = (shares[:, :, None] * lifted[:, None, :]).flatten(1)
    moments = colors.new_zeros(len(near), products.shape[1]).index_add(0, which, products)
    moments = moments.unflatten(1, (colors.shape[1], 4))
    moments = (
        moments / torch.from_numpy(np.array([len(row) for row in near])).to(colors)[:, None, None]
    )
    # P = F (F^T F)^-1 F^T by Cholesky, with a floor that keeps flat neighborhoods differentiable.
    gram = moments.mT @ moments
    floor = 1e-6 * gram.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None] + 1e-12
    factor = torch.linalg.cholesky(gram + floor * torch.eye(4, dtype=gram.dtype))
    return torch.linalg.solve_triangular(factor, moments.mT, upper=False).mT


def span_distances(a: Float[Tensor, "K C 4"], b: Float[Tensor, "M C 4"]) -> Float[Tensor, "K M"]:
    """||A A^T - B B^T|| / sqrt 2, between 0 and 2; at least 1e-3, where its slope would be endless.

    A flat neighborhood's basis is shorter than orthonormal, so ||A^T A||^2 is computed, not 4.
    """
    sizes = [(x.mT @ x).square().sum(dim=(-2, -1)) / 2 for x in (a, b)]
    overlap = torch.einsum("kcx,mcy->kmxy", a, b).square().sum(dim=(-2, -1))
    return (sizes[0][:, None] + sizes[1][None] - overlap).clamp_min(1e-6).sqrt()


def span_loss(
    distances: Float[Tensor, "K K"], away: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """Contrastive loss of matched neighborhoods (the diagonal) against those `away`; hit rate."""
    similarity = ((1 - distances) / temperature).masked_fill(~away, -torch.inf)
    target = torch.arange(len(similarity))
    both = nn.functional.cross_entropy(similarity, target)
    both = both + nn.functional.cross_entropy(similarity.T, target)
    return both / 2, (similarity.argmax(dim=1) == target).float().mean()
