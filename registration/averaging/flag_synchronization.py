"""Chordal flag distances along the edges of a graph, and steps that lower their squares."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from . import so3
from .graph import RotationGraph
from .laplacian import solve_laplacian

_HALVINGS = 12


def flag_distances(
    graph: RotationGraph, rotations: Float[np.ndarray, "N 3 3"]
) -> Float[np.ndarray, "E"]:
    """Chordal distance of each R_i R_ij to R_j as flags of type (1, 2, 3), in [0, sqrt 3].

    With E = R_i^T (R_i R_ij) ... the columns' cosines e_k = (R_i^T R_j R_ij^T)_kk give
    sqrt(sum_k 1 - max(e_k, 0)^2). Flags proper forget the columns' signs, so that half turns about
    the axes would cost nothing; here a column that points the other way is at its largest distance.
    """
    cosines = np.einsum("ekk->ek", _errors(graph, rotations))
    return np.sqrt(np.maximum(1 - np.maximum(cosines, 0.0) ** 2, 0.0).sum(axis=1))


def flag_descent(
    graph: RotationGraph,
    rotations: Float[np.ndarray, "N 3 3"],
    weights: Float[np.ndarray, "E"],
    anchors: Int[np.ndarray, "A"],
) -> tuple[Float[np.ndarray, "N 3 3"], float]:
    """One Newton-like step on sum w d^2, never uphill, and its largest turn in radians.

    For small angles d^2 = 2 angle^2 whatever the axis, so the Hessian in world axes is 4 L (x) I_3
    with the weighted Laplacian L; the gradient is exact.
    """
    i, j = graph.edges.T
    errors = _errors(graph, rotations)
    cosines = np.maximum(np.einsum("ekk->ek", errors), 0.0)
    # d(e_k) under R_i -> R_i exp(a), R_j -> R_j exp(b): see `_cosine_gradients`.
    at_i, at_j = _cosine_gradients(errors)
    flow_i = -2 * np.einsum("e,ek,ekc->ec", weights, cosines, at_i)
    flow_j = -2 * np.einsum("e,ek,ekc->ec", weights, cosines, at_j)
    gradient = np.zeros((graph.num_nodes, 3))
    np.add.at(gradient, i, np.einsum("eab,eb->ea", rotations[i], flow_i))
    np.add.at(gradient, j, np.einsum("eab,eb->ea", rotations[i], flow_j))
    step = solve_laplacian(graph.num_nodes, graph.edges, 4 * weights, -gradient, anchors)
    longest = float(np.linalg.norm(step, axis=1).max(initial=0.0))
    factor = min(1.0, 1.0 / max(longest, 1e-300))
    before = _cost(cosines, weights)
    for _ in range(_HALVINGS):
        moved = so3.project(so3.exp(factor * step) @ rotations)
        cosines = np.maximum(np.einsum("ekk->ek", _errors(graph, moved)), 0.0)
        if _cost(cosines, weights) <= before * (1 + 1e-14):
            return moved, factor * longest
        factor /= 2
    return rotations, 0.0


def _errors(graph: RotationGraph, rotations: np.ndarray) -> Float[np.ndarray, "E 3 3"]:
    """R_i^T R_j R_ij^T: the identity for an edge that agrees, in the frame of node i."""
    i, j = graph.edges.T
    return rotations[i].transpose(0, 2, 1) @ rotations[j] @ graph.rotations.transpose(0, 2, 1)


def _cosine_gradients(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients [E, 3, 3] (edge, column k, component) of E_kk under turns of nodes i and j.

    Turns w are written in the frame of node i. R_i <- exp(w) R_i makes E <- exp(-w) E, and
    R_j <- exp(w) R_j makes E <- exp(w) E, so d E_kk = +-e_k . (w x E_:k) = +-w . (E_:k x e_k).
    """
    columns = errors.transpose(0, 2, 1)  # [E, k, :]: column k of E
    at_j = np.cross(columns, np.eye(3)[None])
    return -at_j, at_j


def _cost(cosines: np.ndarray, weights: np.ndarray) -> float:
    return float(weights @ (1 - cosines**2).sum(axis=1))
