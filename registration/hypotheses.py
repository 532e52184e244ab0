"""Poses on which many feature matches agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .kernels import kernels
from .matching import Matches
from .preparation import Prepared

BOUND = 1.5
"""Voxels by which the length of a pair may change."""
_MIN_LENGTH = 4.0
_SEEDS = 64
_MEMBERS = 24
_SCALE_BINS = np.linspace(-1.2, 1.2, 161)
_SCALES = 3


def poses_of_matches(
    source: Prepared, target: Prepared, matches: Matches, *, with_scale: bool = False
) -> NDArray[np.float64]:
    """Candidate poses [k, 13] from the centered source to the centered target.

    Matches whose mutual distances are kept form a graph; each well connected one proposes the pose
    of the matches that share most neighbors with it, see `csrc/consensus.cpp`. With scale, lengths
    vote for their common ratio first (as TEASER does, Yang et al., T-RO 2020, section IV).
    """
    if len(matches) < 3:
        return np.zeros((0, 13))
    p, q = source.points[matches.source], target.points[matches.target]
    found = []
    # Voxels hold equal numbers of points, so that their ratio is about the scale.
    guess = target.voxel / source.voxel
    for scale in _likely_scales(p, q, source.voxel, guess) if with_scale else (1.0,):
        poses, _ = kernels().consensus(
            np.ascontiguousarray(p * np.float32(scale)),
            np.ascontiguousarray(q),
            BOUND * target.voxel,
            _MIN_LENGTH * target.voxel,
            _SEEDS,
            _MEMBERS,
        )
        poses[:, 12] = scale
        found.append(poses)
    return np.concatenate(found)


def _likely_scales(
    p: NDArray[np.float32], q: NDArray[np.float32], voxel: float, guess: float
) -> list[float]:
    """The most frequent ratios of the lengths of corresponding pairs."""
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, len(p), (2, 200_000))
    a = np.linalg.norm(p[i] - p[j], axis=1)
    b = np.linalg.norm(q[i] - q[j], axis=1)
    long = (a > 2 * _MIN_LENGTH * voxel) & (b > 0)
    votes = np.histogram(np.log(b[long] / a[long] / guess), _SCALE_BINS)[0].astype(np.float64)
    smooth = np.convolve(votes, [0.5, 1, 0.5], "same")
    # The broad hill of unrelated pairs is taken off; what stands out are shared ratios.
    smooth -= np.convolve(smooth, np.full(21, 1 / 21), "same")
    scales = []
    for _ in range(_SCALES):
        best = int(np.argmax(smooth))
        near = slice(max(best - 1, 0), best + 2)
        centers = (_SCALE_BINS[:-1] + _SCALE_BINS[1:])[near] / 2
        weights = votes[near] + 1e-9
        scales.append(guess * float(np.exp((centers * weights).sum() / weights.sum())))
        smooth[max(best - 3, 0) : best + 4] = -np.inf
    return scales
