"""Views joined by fundamental matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ..averaging.graph import check_edges, components

_RANK_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ViewingGraph:
    """F_ij for every edge (i, j): x_i^T F_ij x_j = 0.

    Image coordinates are best centered and divided by half the image's longer side.
    """

    num_views: int
    """Number of images; some may have no edge."""
    edges: Int[np.ndarray, "E 2"]
    """Views (i, j), i < j, each pair at most once."""
    F: Float[np.ndarray, "E 3 3"]
    """Rank 2; any scale."""
    deviations: Float[np.ndarray, "E 7 3 3"] | None = None
    """Independent changes of one standard deviation each, see `EstimatedFundamental`; None where
    F is taken to be exact up to rounding."""
    num_matches: Int[np.ndarray, "E"] | None = None
    """Inlier matches behind each edge; they break ties."""

    def __post_init__(self) -> None:
        check_edges(self.num_views, self.edges)
        if (self.edges[:, 0] >= self.edges[:, 1]).any():
            raise ValueError("`edges` must be (i, j) with i < j; swap them and transpose their F.")
        pairs, counts = np.unique(self.edges, axis=0, return_counts=True)
        if (counts > 1).any():
            twice = tuple(pairs[counts > 1][0].tolist())
            raise ValueError(f"`edges` must name each pair once; {twice} is there twice.")
        if self.F.shape != (len(self.edges), 3, 3) or not np.isfinite(self.F).all():
            raise ValueError(
                f"`F` must be [{len(self.edges)}, 3, 3] and finite, got {list(self.F.shape)} with "
                f"{int((~np.isfinite(self.F)).sum())} numbers that are not."
            )
        if len(self.F) == 0:
            return
        singular = np.linalg.svd(self.F, compute_uv=False)
        ratio = singular[:, 2] / np.maximum(singular[:, 0], 1e-300)
        if (singular[:, 1] <= 1e-12 * singular[:, 0]).any() or (ratio > _RANK_TOLERANCE).any():
            worst = int(ratio.argmax())
            raise ValueError(
                f"`F` must have rank 2; number {worst} has singular values "
                f"{singular[worst].tolist()}. Set the smallest to zero."
            )

    def components(self, keep: np.ndarray | None = None) -> Int[np.ndarray, "N"]:
        """Connected component of each view by the edges `keep` (None: all), 0 the largest."""
        return components(self.num_views, self.edges if keep is None else self.edges[keep])

    def edge_index(self) -> Int[np.ndarray, "N N"]:
        """Number of the edge between two views, -1 where there is none."""
        index = np.full((self.num_views, self.num_views), -1)
        index[self.edges[:, 0], self.edges[:, 1]] = np.arange(len(self.edges))
        return np.maximum(index, index.T)
