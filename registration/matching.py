"""Correspondences between the features of two clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .kernels import kernels
from .preparation import Prepared

MOST_MATCHES = 2048
"""Correspondences that are checked against each other, the least ambiguous first."""


@dataclass(frozen=True)
class Matches:
    """Points of the source and of the target that look alike."""

    source: NDArray[np.int64]
    """[m] indices."""
    target: NDArray[np.int64]
    """[m] indices."""
    ratios: NDArray[np.float32]
    """[m] squared distance of the features over that of the second best, 0 to 1, ascending."""

    def __len__(self) -> int:
        return len(self.source)


def match_features(source: Prepared, target: Prepared) -> Matches:
    """Pairs that are each other's nearest in feature space, least ambiguous first."""
    forth, squared = kernels().match(target.histograms, source.histograms)
    back, _ = kernels().match(source.histograms, target.histograms)
    rows = np.flatnonzero(back[forth] == np.arange(len(forth)))
    ratios = squared[rows, 0] / np.maximum(squared[rows, 1], 1e-12)
    order = np.argsort(ratios, kind="stable")[:MOST_MATCHES]
    return Matches(rows[order], forth[rows[order]].astype(np.int64), ratios[order])
