"""Graphs of relative rotations: what global averaging starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

_ROTATION_TOLERANCE = 1e-5


@dataclass(frozen=True)
class RotationGraph:
    """Measured relative rotations: R_i = R_ij R_j for every edge (i, j), up to noise.

    R_i is the rotation of R_world_i. Parallel edges are separate measurements.
    """

    num_nodes: int
    """Number of nodes; some may have no edge."""
    edges: Int[np.ndarray, "E 2"]
    """Nodes (i, j) of each edge, i != j."""
    rotations: Float[np.ndarray, "E 3 3"]
    """R_ij, proper rotations that take vectors of frame j to frame i."""
    weights: Float[np.ndarray, "E"] | None = None
    """Inverse variances up to a factor, positive; None weighs all alike."""

    def __post_init__(self) -> None:
        check_edges(self.num_nodes, self.edges)
        count = len(self.edges)
        if self.rotations.shape != (count, 3, 3) or not np.isfinite(self.rotations).all():
            raise ValueError(
                f"`rotations` must be [{count}, 3, 3] and finite, one for each edge, got "
                f"{list(self.rotations.shape)} with "
                f"{int((~np.isfinite(self.rotations)).sum())} numbers that are not finite."
            )
        check_rotations("rotations", self.rotations)
        if self.weights is not None and (
            self.weights.shape != (count,)
            or not (self.weights > 0).all()
            or not np.isfinite(self.weights).all()
        ):
            raise ValueError(
                f"`weights` must be [{count}], positive and finite, got {list(self.weights.shape)}."
            )

    @property
    def edge_weights(self) -> Float[np.ndarray, "E"]:
        """`weights`, or ones."""
        return np.ones(len(self.edges)) if self.weights is None else self.weights

    def components(self, keep: np.ndarray | None = None) -> Int[np.ndarray, "N"]:
        """Number of the connected component of each node; 0 is the largest, ties by first node.

        Args:
            keep: Edges that count; None takes all.
        """
        return components(self.num_nodes, self.edges if keep is None else self.edges[keep])


def components(num_nodes: int, edges: Int[np.ndarray, "E 2"]) -> Int[np.ndarray, "N"]:
    """Number of the connected component of each node; 0 is the largest, ties by first node."""
    links = coo_matrix(
        (np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(num_nodes, num_nodes)
    )
    count, labels = connected_components(links, directed=False)
    sizes = np.bincount(labels, minlength=count)
    first = np.full(count, num_nodes)
    np.minimum.at(first, labels, np.arange(num_nodes))
    rank = np.empty(count, np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(count)
    return rank[labels]


def check_edges(num_nodes: int, edges: np.ndarray) -> None:
    """Raise `ValueError` unless `edges` [E, 2] joins different nodes below `num_nodes`."""
    if num_nodes < 1:
        raise ValueError(f"`num_nodes` must be at least 1, got {num_nodes}.")
    if edges.ndim != 2 or edges.shape[1] != 2 or not np.issubdtype(edges.dtype, np.integer):
        raise ValueError(f"`edges` must be [E, 2] integers, got {edges.dtype} {list(edges.shape)}.")
    if edges.size and (edges.min() < 0 or edges.max() >= num_nodes):
        raise ValueError(
            f"`edges` must name nodes 0 to {num_nodes - 1}, got {edges.min()} to {edges.max()}."
        )
    loops = np.flatnonzero(edges[:, 0] == edges[:, 1])
    if loops.size:
        raise ValueError(
            f"`edges` must join different nodes; edge {loops[0]} joins {edges[loops[0], 0]} to "
            "itself. Leave such edges out."
        )


def check_rotations(name: str, rotations: np.ndarray) -> None:
    """Raise `ValueError` unless all matrices are proper rotations."""
    if len(rotations) == 0:
        return
    errors = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    worst = int(errors.argmax())
    if errors[worst] > _ROTATION_TOLERANCE:
        raise ValueError(
            f"`{name}` must be rotation matrices; number {worst} is off orthonormal by "
            f"{errors[worst]:.2g}. Divide out the scale, or take the polar factor."
        )
    mirrored = np.flatnonzero(np.linalg.det(rotations) < 0)
    if mirrored.size:
        raise ValueError(f"`{name}` must have determinant +1; number {mirrored[0]} is a mirror.")
