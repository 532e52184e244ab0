"""Leaps out of local minima: each node tries the rotation that each of its edges proposes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from .graph import RotationGraph

_SWEEPS = 5
_GAIN = 1e-9


def medoid_sweeps(
    graph: RotationGraph, rotations: Float[np.ndarray, "N 3 3"]
) -> Float[np.ndarray, "N 3 3"]:
    """Rotations in which no node lowers its sum of flag distances by what an edge proposes.

    Descent moves a node only downhill, and flag distances have several valleys. A neighbor's
    estimate through an edge is a candidate; of these medoids the best is taken if it is better
    than the present rotation. The total cost falls with every change, node after node.
    """
    rotations = rotations.copy()
    around = _edges_around(graph)
    for _ in range(_SWEEPS):
        changed = False
        for node, (others, relative, weights) in enumerate(around):
            if len(others) < 2:
                continue
            proposed = rotations[others] @ relative
            candidates = np.concatenate([rotations[node][None], proposed])
            cosines = np.einsum("cak,pak->cpk", candidates, proposed)
            distances = np.sqrt(np.maximum(1 - np.maximum(cosines, 0) ** 2, 0).sum(axis=2))
            costs = distances @ weights
            best = int(costs.argmin())
            if costs[best] < costs[0] - _GAIN - 0.02 * abs(costs[0]):
                rotations[node] = candidates[best]
                changed = True
        if not changed:
            break
    return rotations


def _edges_around(graph: RotationGraph) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For every node its neighbors, the rotations from it to them and the edges' weights."""
    i, j = graph.edges.T
    node, other = np.concatenate([i, j]), np.concatenate([j, i])
    # R_node = R_other R_other,node: for the first node of an edge that is R_ij transposed.
    relative = np.concatenate([graph.rotations.transpose(0, 2, 1), graph.rotations])
    weights = np.concatenate([graph.edge_weights] * 2)
    order = np.argsort(node, kind="stable")
    starts = np.searchsorted(node[order], np.arange(graph.num_nodes + 1))
    parts = [order[a:b] for a, b in pairwise(starts)]
    return [(other[part], relative[part], weights[part]) for part in parts]
