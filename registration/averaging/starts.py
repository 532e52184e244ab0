"""First guesses of global rotations: the spectral relaxation and a trusted spanning tree."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.sparse import bsr_matrix, coo_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from scipy.sparse.linalg import eigsh

from . import so3
from .cycles import edge_support, triangles
from .graph import RotationGraph

_DENSE_NODES = 400  # up to which all eigenvectors are cheaper than a few


def support_weights(graph: RotationGraph) -> Float[np.ndarray, "E"]:
    """How well the triangles around each edge close, in (0, 1].

    The tolerance is three times the lower quartile of the closing errors, between 2 and 30 degrees:
    of triangles of which up to 40 percent of the edges are wrong, about a fifth still close.
    """
    found = triangles(graph)
    if len(found.errors) == 0:
        return np.full(len(graph.edges), 0.5)
    quartile = float(np.quantile(found.errors, 0.15))
    tolerance = float(np.clip(2.5 * quartile, np.radians(2.0), np.radians(30.0)))
    return edge_support(graph, tolerance=tolerance, found=found)


def spectral_start(
    graph: RotationGraph, weights: Float[np.ndarray, "E"]
) -> Float[np.ndarray, "N 3 3"]:
    """Least squares over matrices instead of rotations, then the nearest rotations.

    The three leading eigenvectors of D^-1/2 W D^-1/2, W with blocks w_ij R_ij; each component of
    the graph on its own.
    """
    rotations = np.tile(np.eye(3), (graph.num_nodes, 1, 1))
    labels = graph.components()
    for label in np.unique(labels):
        nodes = np.flatnonzero(labels == label)
        if len(nodes) > 1:
            rotations[nodes] = _spectral_component(graph, weights, nodes)
    return rotations


def _spectral_component(graph: RotationGraph, weights: np.ndarray, nodes: np.ndarray):
    position = np.full(graph.num_nodes, -1)
    position[nodes] = np.arange(len(nodes))
    inside = position[graph.edges[:, 0]] >= 0
    i, j = position[graph.edges[inside]].T
    w, relative = weights[inside], graph.rotations[inside]
    degree = np.bincount(i, w, len(nodes)) + np.bincount(j, w, len(nodes))
    scaled = (w / np.sqrt(degree[i] * degree[j]))[:, None, None] * relative
    blocks = np.concatenate([scaled, scaled.transpose(0, 2, 1)])
    rows, columns = np.concatenate([i, j]), np.concatenate([j, i])
    size = 3 * len(nodes)
    if len(nodes) <= _DENSE_NODES:
        dense = np.zeros((len(nodes), len(nodes), 3, 3))
        np.add.at(dense, (rows, columns), blocks)
        matrix = dense.transpose(0, 2, 1, 3).reshape(size, size)
        vectors = np.linalg.eigh(matrix)[1][:, -3:]
    else:
        order = np.lexsort((columns, rows))
        starts = np.searchsorted(rows[order], np.arange(len(nodes) + 1))
        sparse = bsr_matrix((blocks[order], columns[order], starts), shape=(size, size))
        guess = np.random.default_rng(0).normal(size=size)  # so that runs repeat
        vectors = eigsh(sparse.tocsr(), k=3, which="LA", v0=guess)[1]
    matrices = vectors.reshape(len(nodes), 3, 3)
    if np.linalg.det(matrices).sum() < 0:  # eigenvectors have no sign: mirror the world
        matrices = matrices * np.array([1.0, 1.0, -1.0])
    return so3.project(matrices).transpose(0, 2, 1)


def tree_start(graph: RotationGraph, trust: Float[np.ndarray, "E"]) -> Float[np.ndarray, "N 3 3"]:
    """Rotations chained along the spanning tree of the most trusted edges."""
    i, j = graph.edges.T
    cost = 1.0 + trust.max(initial=0.0) - trust
    order = np.argsort(cost, kind="stable")
    pair = np.minimum(i, j) * graph.num_nodes + np.maximum(i, j)
    best = order[np.unique(pair[order], return_index=True)[1]]  # one edge per pair of nodes
    shape = (graph.num_nodes, graph.num_nodes)
    tree = minimum_spanning_tree(coo_matrix((cost[best], (i[best], j[best])), shape).tocsr())
    edge_of = {int(pair[e]): int(e) for e in best}
    rotations = np.tile(np.eye(3), (graph.num_nodes, 1, 1))
    labels = graph.components()
    for root in np.unique(labels, return_index=True)[1]:
        reached, before = breadth_first_order(tree, root, directed=False)
        for node in reached[1:].tolist():
            parent = int(before[node])
            e = edge_of[min(node, parent) * graph.num_nodes + max(node, parent)]
            relative = graph.rotations[e]
            forward = graph.edges[e, 0] == parent
            rotations[node] = rotations[parent] @ (relative if forward else relative.T)
    return rotations
