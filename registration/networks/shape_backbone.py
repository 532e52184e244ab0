"""Soft membership in kinds of local shape, as clustered or as learned from there on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.spatial import KDTree
from torch import Tensor, nn

SCALES = (0.2, 0.4, 0.6)
"""Radii of the balls whose shape is described, in neighborhood radii."""

_SOFTNESS = 0.12  # of memberships before training


def shape_descriptors(points: Float[np.ndarray, "N 3"], radius: float) -> np.ndarray:
    """Linearity, planarity and sphericity in three balls, and their means over each ball, [N, 18].

    All are in [0, 1], invariant to motions and, with a radius that scales, to scale.
    """
    centered = points - points.mean(axis=0)
    outer = (centered[:, :, None] * centered[:, None, :]).reshape(-1, 9)
    tree, own, around = KDTree(centered), [], []
    for scale in SCALES:
        members = _members(tree, scale * radius)
        counts = np.diff(members.indptr)[:, None]
        mean, square = members @ centered / counts, members @ outer / counts
        covariance = square.reshape(-1, 3, 3) - mean[:, :, None] * mean[:, None, :]
        roots = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance), 0))
        small, middle, large = roots.T
        large = np.maximum(large, 1e-12)
        shape = np.stack([large - middle, middle - small, small], axis=1) / large[:, None]
        own.append(shape)
        around.append(members @ shape / counts)
    return np.concatenate([*own, *around], axis=1)


def _members(tree: KDTree, radius: float) -> csr_array:
    near = tree.query_ball_point(tree.data, radius)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in near])])
    columns = np.concatenate([np.asarray(row) for row in near])
    return csr_array((np.ones(len(columns)), columns, starts), (tree.n, tree.n))


class ShapeBackbone(nn.Module):
    """Logits of membership: minus squared distances to centers in a learned space.

    Untrained, after `fit`, these are k-means clusters of the descriptors. Training moves centers
    and bends the space, beginning exactly there.
    """

    centers: Tensor

    def __init__(self, channels: int = 24, *, radius: float | None = None) -> None:
        super().__init__()
        self.channels, self.radius = channels, radius
        width = 6 * len(SCALES)
        last = nn.Linear(64, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.bend = nn.Sequential(nn.Linear(width, 64), nn.GELU(), last)
        half = width // 2
        scale = torch.ones(width)
        scale[half:] = 0.0  # the means over balls count only once they are found to help
        self.scale = nn.Parameter(scale / (2**0.5 * _SOFTNESS))
        self.centers = nn.Parameter(torch.rand(channels, width))  # pyright: ignore[reportAttributeAccessIssue]

    def fit(self, clouds: Sequence[Float[np.ndarray, "_ 3"]]) -> None:
        """Centers by k-means over the descriptors of clouds."""
        from scipy.cluster.vq import kmeans2

        table = np.concatenate([shape_descriptors(c, self._radius(c)) for c in clouds])
        half = table.shape[1] // 2
        centers, labels = kmeans2(table[:, :half], self.channels, rng=0, minit="++")
        filled = [
            table[labels == n].mean(axis=0) if (labels == n).any() else np.tile(centers[n], 2)
            for n in range(self.channels)
        ]
        with torch.no_grad():
            self.centers.copy_(torch.from_numpy(np.array(filled)))

    def forward(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n C"]:
        """Logits; no gradient goes to the points."""
        cloud = points.detach().double().cpu().numpy()
        found = shape_descriptors(cloud, self._radius(cloud))
        x = torch.from_numpy(found).to(self.centers)
        x = (x + self.bend(x)) * self.scale
        return -torch.cdist(x, self.centers * self.scale, compute_mode=_EXACT).square()

    def _radius(self, cloud: np.ndarray) -> float:
        """Without a radius, three tenths of the cloud's largest extent."""
        return 0.3 * float(np.ptp(cloud, axis=0).max()) if self.radius is None else self.radius


_EXACT = "donot_use_mm_for_euclid_dist"
