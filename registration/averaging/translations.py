"""Positions (and scales) of all nodes from relative ones, rotations being known."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from .laplacian import scatter, solve_laplacian

_REWEIGHTINGS = 60


def average_translations(
    num_nodes: int,
    edges: Int[np.ndarray, "E 2"],
    offsets: Float[np.ndarray, "E D"],
    anchors: Int[np.ndarray, "A"],
    *,
    weights: Float[np.ndarray, "E"] | None = None,
) -> Float[np.ndarray, "N D"]:
    """x of least weighted sum of |offset_ij - (x_j - x_i)|, the anchors at 0.

    A sum of lengths, not of squares: up to a point, outliers have no pull. The problem is convex;
    reweighted least squares with a falling floor under the lengths finds its minimum. Rigid graphs
    pass R_world_i t_ij, similarities log s_ij as one column.

    Args:
        num_nodes: Number of nodes.
        edges: Nodes (i, j) of each edge.
        offsets: Measured x_j - x_i in world axes.
        anchors: One node per connected component.
        weights: Positive; None weighs all alike.
    """
    weights = np.ones(len(edges)) if weights is None else weights
    x = np.zeros((num_nodes, offsets.shape[1]))
    if len(edges) == 0:
        return x
    i, j = edges.T
    now = weights
    floor = np.inf
    for _ in range(_REWEIGHTINGS):
        right = scatter(num_nodes, edges, now[:, None] * offsets)
        moved = solve_laplacian(num_nodes, edges, now, right, anchors)
        step = float(np.abs(moved - x).max())
        x = moved
        left = np.linalg.norm(offsets - (x[j] - x[i]), axis=1)
        size = max(float(np.median(left)), 1e-12)
        floor = max(min(floor / 2, size), 1e-3 * size, 1e-12)
        if step <= 1e-9 * max(float(np.abs(x).max()), 1e-300):
            break
        now = weights / np.maximum(left, floor)
    return x
