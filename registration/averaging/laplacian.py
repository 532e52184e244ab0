"""Weighted graph Laplacians: the linear step that all global averages here share."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

_DENSE_NODES = 150  # up to which a dense solve is faster than setting up a sparse one


def solve_laplacian(
    num_nodes: int,
    edges: Int[np.ndarray, "E 2"],
    weights: Float[np.ndarray, "E"],
    right: Float[np.ndarray, "N D"],
    anchors: Int[np.ndarray, "A"],
) -> Float[np.ndarray, "N D"]:
    """x with L x = right on all nodes but the anchors, which stay at 0.

    Args:
        num_nodes: Number of nodes.
        edges: Pairs of nodes.
        weights: Positive conductances of the edges.
        right: One column per coordinate; columns are independent.
        anchors: One node per connected component.
    """
    i, j = edges.T
    held = np.zeros(num_nodes, bool)
    held[anchors] = True
    diagonal = np.bincount(i, weights, num_nodes) + np.bincount(j, weights, num_nodes)
    diagonal[held] = 1.0
    free = ~(held[i] | held[j])
    rows = np.concatenate([np.arange(num_nodes), i[free], j[free]])
    columns = np.concatenate([np.arange(num_nodes), j[free], i[free]])
    values = np.concatenate([diagonal, -weights[free], -weights[free]])
    if num_nodes <= _DENSE_NODES:
        dense = np.zeros((num_nodes, num_nodes))
        np.add.at(dense, (rows, columns), values)
        return np.linalg.solve(dense, np.where(held[:, None], 0.0, right))
    matrix = coo_matrix((values, (rows, columns)), (num_nodes, num_nodes)).tocsc()
    right = np.where(held[:, None], 0.0, right)
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0).solve(right)


def scatter(
    num_nodes: int, edges: Int[np.ndarray, "E 2"], flow: Float[np.ndarray, "E D"]
) -> Float[np.ndarray, "N D"]:
    """Sum of each edge's `flow`, added at its second and taken from its first node."""
    total = np.zeros((num_nodes, flow.shape[1]))
    np.add.at(total, edges[:, 1], flow)
    np.subtract.at(total, edges[:, 0], flow)
    return total
