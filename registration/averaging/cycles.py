"""Triangles of a graph of rotations: which edges agree with the edges around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from . import so3
from .graph import RotationGraph


@dataclass(frozen=True)
class Triangles:
    """All triangles of a graph, and how far each is from closing."""

    edges: Int[np.ndarray, "T 3"]
    """Indices of the edges (a, b), (b, c), (a, c), in either direction."""
    errors: Float[np.ndarray, "T"]
    """Angle of R_ab R_bc R_ca in radians."""


def triangles(graph: RotationGraph) -> Triangles:
    """Every triangle once, with its closing error; parallel edges make triangles of their own."""
    i, j = np.minimum(*graph.edges.T), np.maximum(*graph.edges.T)
    # low <- high: R_lh takes vectors of the higher node's frame to the lower one's.
    forward = graph.edges[:, 0] < graph.edges[:, 1]
    upward = np.where(forward[:, None, None], graph.rotations, graph.rotations.transpose(0, 2, 1))
    leaving: list[list[int]] = [[] for _ in range(graph.num_nodes)]
    between: dict[tuple[int, int], list[int]] = {}
    for e, (low, high) in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
        leaving[low].append(e)
        between.setdefault((low, high), []).append(e)
    found = [
        (e, f, g)
        for e in range(len(i))
        for f in leaving[int(j[e])]
        for g in between.get((int(i[e]), int(j[f])), ())
    ]
    index = np.array(found, np.int64).reshape(-1, 3)
    around = upward[index[:, 0]] @ upward[index[:, 1]]
    return Triangles(index, so3.angles(around, upward[index[:, 2]]))


def edge_support(
    graph: RotationGraph, *, tolerance: float, found: Triangles | None = None
) -> Float[np.ndarray, "E"]:
    """Share of an edge's triangles that close within `tolerance` radians, smoothed.

    With k of n triangles closing it is (k + 1/2) / (n + 1): 1/2 for an edge in no triangle,
    which nothing speaks for or against.
    """
    found = triangles(graph) if found is None else found
    closing = (found.errors <= tolerance).astype(np.float64)
    hits, all_of_it = np.zeros(len(graph.edges)), np.zeros(len(graph.edges))
    for side in range(3):
        np.add.at(hits, found.edges[:, side], closing)
        np.add.at(all_of_it, found.edges[:, side], 1.0)
    return (hits + 0.5) / (all_of_it + 1.0)


def bridges(num_nodes: int, edges: Int[np.ndarray, "E 2"]) -> np.ndarray:
    """True for edges in no cycle: a wrong one among them cannot be noticed by averaging."""
    near: list[list[tuple[int, int]]] = [[] for _ in range(num_nodes)]
    for e, (a, b) in enumerate(edges.tolist()):
        near[a].append((b, e))
        near[b].append((a, e))
    order, low = [-1] * num_nodes, [0] * num_nodes
    found = np.zeros(len(edges), bool)
    clock = 0
    for root in range(num_nodes):
        if order[root] >= 0:
            continue
        stack = [(root, -1, 0)]
        while stack:
            node, via, position = stack.pop()
            if position == 0:
                order[node] = low[node] = clock
                clock += 1
            if position < len(near[node]):
                stack.append((node, via, position + 1))
                other, e = near[node][position]
                if e == via:
                    continue
                if order[other] < 0:
                    stack.append((other, e, 0))
                else:
                    low[node] = min(low[node], order[other])
            elif stack:
                parent = stack[-1][0]
                low[parent] = min(low[parent], low[node])
                found[via] = low[node] > order[parent]
    return found
