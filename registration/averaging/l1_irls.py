"""L1 averaging in the Lie algebra followed by iteratively reweighted least squares.

Reference: Chatterjee and Govindu, "Robust Relative Rotation Averaging", TPAMI 2018; the kernel is
Geman and McClure's with their 5 degrees.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from . import so3
from .graph import RotationGraph
from .laplacian import scatter, solve_laplacian
from .starts import tree_start

_SIGMA = np.radians(5.0)
_L1_STEPS = 5
_L1_REWEIGHTINGS = 20


def l1_irls(graph: RotationGraph, anchors: Int[np.ndarray, "A"]) -> Float[np.ndarray, "N 3 3"]:
    """Rotations from a spanning tree, an L1 phase and a Geman-McClure phase.

    Args:
        graph: The measurements.
        anchors: One node per component, which keeps its rotation.
    """
    rotations = tree_start(graph, graph.edge_weights)
    for _ in range(_L1_STEPS):
        rotations, step = _l1_step(graph, rotations, anchors)
        if step < 1e-3:
            break
    for _ in range(100):
        residuals = _residuals(graph, rotations)
        squares = (residuals**2).sum(axis=1)
        weights = graph.edge_weights * _SIGMA**2 / (_SIGMA**2 + squares) ** 2
        weights = np.maximum(weights / weights.max(), 1e-9)
        rotations, step = _moved(graph, rotations, residuals, weights, anchors)
        if step < 1e-7:
            break
    return rotations


def _l1_step(graph: RotationGraph, rotations: np.ndarray, anchors: np.ndarray):
    """The step of least sum of |residual - (x_j - x_i)|, by reweighting."""
    residuals = _residuals(graph, rotations)
    i, j = graph.edges.T
    left, turn = residuals, np.zeros((graph.num_nodes, 3))
    for _ in range(_L1_REWEIGHTINGS):
        weights = graph.edge_weights / np.maximum(np.linalg.norm(left, axis=1), 1e-4)
        flow = weights[:, None] * residuals
        right = scatter(graph.num_nodes, graph.edges, flow)
        turn = solve_laplacian(graph.num_nodes, graph.edges, weights, right, anchors)
        left = residuals - (turn[j] - turn[i])
    return so3.exp(turn) @ rotations, float(np.linalg.norm(turn, axis=1).mean())


def _residuals(graph: RotationGraph, rotations: np.ndarray) -> Float[np.ndarray, "E 3"]:
    """World turns by which R_j would have to gain on R_i."""
    i, j = graph.edges.T
    return so3.log(rotations[i] @ graph.rotations @ rotations[j].transpose(0, 2, 1))


def _moved(graph, rotations, residuals, weights, anchors):
    right = scatter(graph.num_nodes, graph.edges, weights[:, None] * residuals)
    turn = solve_laplacian(graph.num_nodes, graph.edges, weights, right, anchors)
    return so3.exp(turn) @ rotations, float(np.linalg.norm(turn, axis=1).mean())
