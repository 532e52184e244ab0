"""What a pairwise registration found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from captures import Similarity


@dataclass(frozen=True)
class Hypothesis:
    """One candidate pose and what the verifier thought of it."""

    T_target_source: NDArray[np.float64]
    """[4, 4], p_target = T_target_source @ p_source; the upper left block is scale * rotation."""
    score: float
    """Higher is better; comparable within one registration only."""
    inlier_ratio: float
    """Share of the overlapping source points that lie on the target's surface, 0 to 1."""
    overlap: float
    """Share of the source that the target shows as well, 0 to 1."""
    origin: str
    """The family of methods that proposed it: "features", "ume", ..."""


@dataclass(frozen=True)
class Registration:
    """The pose of a source cloud in the frame of a target cloud, float64."""

    T_target_source: NDArray[np.float64]
    """[4, 4], p_target = T_target_source @ p_source; the upper left block is scale * rotation. The
    best guess even where `converged` is False; the identity where there was none."""
    scale: float
    """Length in the target frame of one source unit; 1 unless scale was asked for."""
    inlier_ratio: float
    """Share of the overlapping source points that lie on the target's surface, 0 to 1."""
    rmse: float
    """Root mean square distance of those from the surface, target units."""
    overlap: float
    """Share of the source that the target shows as well, 0 to 1."""
    converged: bool
    """True where the evidence suffices to call the clouds aligned; False says "not aligned"."""
    hypotheses: tuple[Hypothesis, ...] = ()
    """The verified candidates, best first; the first is this pose."""
    information: NDArray[np.float64] = field(default_factory=lambda: np.zeros((6, 6)), repr=False)
    """[6, 6] Hessian of the refinement in (rotation, translation) about the target's origin, for
    pose graphs; zero where nothing was refined."""
    reason: str = ""
    """Why the clouds are not called aligned; empty where they are."""

    @property
    def similarity(self) -> Similarity:
        """The same transform as rotation, translation and scale."""
        matrix = torch.from_numpy(self.T_target_source.copy())
        return Similarity(self.scale, matrix[:3, :3] / self.scale, matrix[:3, 3])

    def apply(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Points [..., 3] of the source in the frame of the target."""
        return points @ self.T_target_source[:3, :3].T + self.T_target_source[:3, 3]
