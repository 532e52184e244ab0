"""How the faces of a mesh hang together: edges, components, orientation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse import csgraph

from .mesh import TriangleMesh


@dataclass(frozen=True)
class Topology:
    """Edges of a mesh and the faces at each."""

    num_vertices: int
    """Vertices that a face uses."""
    edges: Int[np.ndarray, "e 2"]
    """Unique edges, smaller vertex first."""
    counts: Int[np.ndarray, "e"]
    """Faces at each edge."""
    pairs: Int[np.ndarray, "p 2"]
    """The two faces at each edge that has exactly two."""
    pair_edges: Int[np.ndarray, "p"]
    """Which edge that is."""
    opposed: Bool[np.ndarray, "p"]
    """Whether the two run through it in opposite directions, as neighbors should."""
    num_faces: int
    """Faces."""

    @classmethod
    def of(cls, mesh: TriangleMesh) -> Topology:
        """The topology of a mesh whose equal vertices are merged."""
        halves = mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
        owner = np.repeat(np.arange(len(mesh.faces)), 3)
        forward = halves[:, 0] < halves[:, 1]
        edges, inverse, counts = np.unique(
            np.sort(halves, axis=1), axis=0, return_inverse=True, return_counts=True
        )
        order = np.argsort(inverse.reshape(-1), kind="stable")
        first = np.cumsum(counts) - counts
        two = np.flatnonzero(counts == 2)
        one, other = order[first[two]], order[first[two] + 1]
        return cls(
            num_vertices=len(np.unique(mesh.faces)),
            edges=edges,
            counts=counts,
            pairs=np.stack([owner[one], owner[other]], axis=1),
            pair_edges=two,
            opposed=forward[one] != forward[other],
            num_faces=len(mesh.faces),
        )

    @property
    def boundary_edges(self) -> int:
        """Edges with one face: the rims of holes."""
        return int((self.counts == 1).sum())

    @property
    def nonmanifold_edges(self) -> int:
        """Edges with more than two faces."""
        return int((self.counts > 2).sum())

    @property
    def closed(self) -> bool:
        """Whether every edge has an even number of faces, so that a parity means something."""
        return bool((self.counts % 2 == 0).all())

    @cached_property
    def components(self) -> Int[np.ndarray, "f"]:
        """Number of each face's component, faces joined where exactly two share an edge."""
        graph = sparse.coo_matrix(
            (np.ones(len(self.pairs)), self.pairs.T), shape=(self.num_faces, self.num_faces)
        )
        return csgraph.connected_components(graph, directed=False)[1]

    @property
    def euler(self) -> int:
        """Vertices - edges + faces; 2 - 2 genus per closed component."""
        return self.num_vertices - len(self.edges) + self.num_faces


def oriented(mesh: TriangleMesh, topology: Topology) -> tuple[TriangleMesh, int, bool]:
    """The mesh with faces turned so that neighbors agree.

    Each component keeps the direction that most of its area has, so that inward-wound cavities
    stay cavities.

    Returns:
        The mesh, the number of faces turned, and whether all neighbors agree now (they cannot on a
        Möbius strip).
    """
    turned = _parities(topology)
    components = topology.components
    size = int(components.max()) + 1 if len(components) else 0
    areas = mesh.areas
    against = np.bincount(components, areas * turned, minlength=size)
    total = np.bincount(components, areas, minlength=size)
    turned ^= (against > 0.5 * total)[components]
    one, other = topology.pairs.T
    agree = bool(((turned[one] ^ turned[other]) == ~topology.opposed).all())
    faces = np.where(turned[:, None], mesh.faces[:, ::-1], mesh.faces)
    return TriangleMesh(mesh.vertices, faces), int(turned.sum()), agree


def _parities(topology: Topology) -> Bool[np.ndarray, "f"]:
    """Which faces to turn so that each agrees with its parent in a spanning forest."""
    count = topology.num_faces
    roots = np.unique(topology.components, return_index=True)[1]
    # One virtual root above all components makes the forest one tree.
    rows = np.concatenate([topology.pairs[:, 0], np.full(len(roots), count)])
    columns = np.concatenate([topology.pairs[:, 1], roots])
    graph = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count + 1, count + 1))
    parents = csgraph.breadth_first_order(graph.tocsr(), count, directed=False)[1]
    parents[count] = count
    relation = sparse.coo_matrix(
        (np.where(topology.opposed, 1, 2), topology.pairs.T), shape=(count + 1, count + 1)
    ).tocsr()
    relation = relation.maximum(relation.T).tocsr()
    found = np.asarray(relation[np.arange(count), parents[:count]]).reshape(-1)
    parity = np.append(found == 2, False)
    while (parents != count).any():  # pointer doubling: 20 rounds for a million faces
        parity = parity ^ np.where(parents == count, False, parity[parents])
        parents = parents[parents]
    return parity[:count]


def sharp_edges(
    mesh: TriangleMesh, topology: Topology, *, angle_deg: float = 30.0
) -> tuple[Int[np.ndarray, "s 2"], Float[np.ndarray, "s 3"]]:
    """Edges whose faces meet at more than `angle_deg`, and the mean normal at each.

    Rims, edges with more than two faces and those of flat slivers are left out: they have no
    dihedral angle.
    """
    vectors = mesh.area_vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    size = float(np.ptp(mesh.vertices, axis=0).max())
    flat = lengths[:, 0] < (1e-6 * size) ** 2
    normals = vectors / np.maximum(lengths, 1e-300)
    one, other = topology.pairs.T
    second = np.where(topology.opposed[:, None], normals[other], -normals[other])
    sharp = (normals[one] * second).sum(1) < np.cos(np.radians(angle_deg))
    sharp &= ~flat[one] & ~flat[other]
    middle = normals[one][sharp] + second[sharp]
    middle /= np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-12)
    return topology.edges[topology.pair_edges[sharp]], middle
