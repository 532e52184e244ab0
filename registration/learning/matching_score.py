"""How well colors tell places apart: the share of neighborhoods whose moments find their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

Colors = Callable[[Float[np.ndarray, "N 3"]], Float[np.ndarray, "N C"]]
"""Non-negative colors of the points of a cloud."""

_MATCHED = 0.5  # of the radius: a match that near to the truth is right


def matching_score(
    colors: Colors,
    source: Float[np.ndarray, "N 3"],
    target: Float[np.ndarray, "M 3"],
    T_target_source: Float[np.ndarray, "4 4"],
    *,
    radius: float,
    num_keypoints: int = 300,
    seed: int = 0,
) -> float:
    """Share of source keypoints whose nearest moment span in the target is of the same place.

    A neighborhood's moments F [C, 4] are those of its colors about its center; neighborhoods are
    compared by the spans of F (UMERegRobust, section 3.2). Keypoints without a counterpart in the
    target do not count.

    Args:
        colors: What is judged.
        source: Points in any frame.
        target: Points of the same surface, differently sampled.
        T_target_source: The true rigid pose.
        radius: Of the neighborhoods.
        num_keypoints: Of each cloud.
        seed: Which points are keypoints.
    """
    rng = np.random.default_rng(seed)
    spans, places = [], []
    for cloud in (source, target):
        chosen = cloud[rng.choice(len(cloud), min(num_keypoints, len(cloud)), replace=False)]
        spans.append(_spans(cloud, colors(cloud), chosen, radius))
        places.append(chosen)
    moved = places[0] @ T_target_source[:3, :3].T + T_target_source[:3, 3]
    possible = KDTree(places[1]).query(moved)[0] < _MATCHED * radius
    found = np.linalg.norm(spans[0][:, None] - spans[1][None], axis=2).argmin(axis=1)
    right = np.linalg.norm(places[1][found] - moved, axis=1) < _MATCHED * radius
    return float(right[possible].mean())


def _spans(cloud: np.ndarray, colors: np.ndarray, centers: np.ndarray, radius: float) -> np.ndarray:
    """Upper triangles of the projectors on the spans; their distances are those of the spans."""
    tree = KDTree(cloud)
    rows, columns = np.triu_indices(colors.shape[1])
    weights = np.where(rows == columns, 1.0, np.sqrt(2.0))
    found = []
    for center, near in zip(centers, tree.query_ball_point(centers, radius), strict=True):
        away = (cloud[near] - center) / radius
        moments = colors[near].T @ np.concatenate([np.ones((len(near), 1)), away], axis=1)
        basis = np.linalg.qr(moments)[0]
        found.append((basis @ basis.T)[rows, columns] * weights)
    return np.array(found)
