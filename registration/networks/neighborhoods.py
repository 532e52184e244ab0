"""Nearest neighbors and what can be said of them in any frame."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_ALL_PAIRS = 1024  # points per cloud up to which all distances are computed


def nearest(points: Float[Tensor, "*batch n 3"], k: int) -> Int[Tensor, "*batch n K"]:
    """Indices of the k nearest other points of the same cloud, nearest first; K = min(k, n - 1).

    Raises:
        ValueError: A cloud has fewer than two points, or numbers that are not finite.
    """
    n = points.shape[-2]
    if n < 2 or not bool(torch.isfinite(points).all()):
        raise ValueError(
            f"`points` must be at least 2 finite points in each cloud, got {list(points.shape)}."
        )
    k = min(k, n - 1)
    if n <= _ALL_PAIRS:
        distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
        distances = distances + torch.diag_embed(points.new_full((n,), torch.inf))
        return distances.topk(k, largest=False).indices
    from scipy.spatial import KDTree

    found = []
    for cloud in points.reshape(-1, n, 3):
        tree = KDTree(cloud.detach().cpu().numpy())
        found.append(torch.from_numpy(np.asarray(tree.query(tree.data, k + 1)[1])[:, 1:]))
    return torch.stack(found).reshape(*points.shape[:-1], k).to(points.device)


def gather(values: Float[Tensor, "*batch n D"], index: Int[Tensor, "*batch n K"]) -> Tensor:
    """Values of the neighbors, [*batch, n, K, D]."""
    n, d = values.shape[-2:]
    flat = values.reshape(-1, n, d)
    offset = torch.arange(len(flat), device=index.device)[:, None, None] * n
    rows = (index.reshape(-1, *index.shape[-2:]) + offset).reshape(-1)
    # index_select, as the gradient of an index is added up in any order by several threads.
    return flat.reshape(-1, d).index_select(0, rows.reshape(-1)).reshape(*index.shape, d)


def relative(
    points: Float[Tensor, "*batch n 3"], index: Int[Tensor, "*batch n K"], radius: float | None
) -> Float[Tensor, "*batch n K 3"]:
    """Vectors to the neighbors, divided by `radius` or, if that is None, by the cloud's spacing.

    The spacing is the mean distance of the farthest neighbors: the same for a rescaled cloud.
    """
    vectors = gather(points, index) - points[..., None, :]
    if radius is not None:
        return vectors / radius
    spacing = vectors[..., -1, :].norm(dim=-1).mean(dim=-1)
    return vectors / spacing.clamp_min(1e-12)[..., None, None, None]


def normals(vectors: Float[Tensor, "*batch n K 3"]) -> Float[Tensor, "*batch n 3"]:
    """Unit normals of the neighborhoods, without a defined sign."""
    centered = vectors - vectors.mean(dim=-2, keepdim=True)
    covariance = centered.mT @ centered
    return torch.linalg.eigh(covariance.double()).eigenvectors[..., 0].to(vectors.dtype)
