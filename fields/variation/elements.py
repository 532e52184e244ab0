"""Total variation of finite-element functions: TV(u) = sum_k w_k |(D u)_k|.

For piecewise constant functions (DG0) the gradient is all jumps: k runs over the facets between
two cells, w_k is a facet's length or area and (D u)_k the jump across it. For continuous piecewise
linear functions (CG1) there are no jumps: k runs over triangles, w_k is their area and (D u)_k the
constant gradient. Both are exact, no quadrature is needed below degree 2. |.| is the Euclidean norm
over the directions and the C channels of a signal together, so that the channels share their edges
and nothing depends on the choice of axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array, csr_array

from ..meshes.mesh import Mesh


@dataclass(frozen=True, eq=False)
class Variation:
    """D, w and the masses of one finite-element space with N unknowns."""

    operator: csr_array
    """[K * rows, N]: `rows` lines for each of K terms."""
    rows: int
    """Directions of each term: 1 for jumps, 3 for gradients in space."""
    weights: Float[np.ndarray, "K"]
    """w_k, not negative."""
    masses: Float[np.ndarray, "N"]
    """Integral of each basis function (lumped mass matrix), positive."""

    @property
    def size(self) -> int:
        """N."""
        return len(self.masses)

    def terms(self, signal: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "K R"]:
        """(D u)_k, directions and channels flattened."""
        return (self.operator @ signal).reshape(len(self.weights), -1)

    def value(self, signal: Float[np.ndarray, "N C"]) -> float:
        """TV(u)."""
        return float(self.weights @ np.linalg.norm(self.terms(signal), axis=1))

    def mean(self, signal: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "C"]:
        """Mean over the domain."""
        return self.masses @ signal / self.masses.sum()


def face_variation(mesh: Mesh) -> Variation:
    """DG0 on a surface: one value per triangle, jumps across edges times their lengths.

    Across an edge of three or more triangles each pair of neighbors around it counts; the border
    of an open surface counts nothing.
    """
    pairs, edges = edge_neighbors(mesh.faces)
    ends = mesh.vertices[edges]
    lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    areas = np.linalg.norm(mesh.area_vectors(), axis=1)
    return Variation(_jumps(pairs, len(mesh.faces)), 1, lengths, _positive(areas))


def vertex_variation(mesh: Mesh) -> Variation:
    """CG1 on a surface: one value per vertex, gradients times the areas of the triangles."""
    corners = mesh.corners()
    normals = mesh.area_vectors()
    squared = np.maximum((normals**2).sum(1), 1e-300)
    areas = np.sqrt(squared)
    # The gradient of the hat function of corner i is n x (opposite edge) / (2 area), n unit length.
    opposite = np.stack([corners[:, (i + 2) % 3] - corners[:, (i + 1) % 3] for i in range(3)], 1)
    gradients = np.cross(normals[:, None], opposite) / (2 * squared)[:, None, None]
    count = len(mesh.faces)
    line = 3 * np.arange(count)[:, None, None] + np.arange(3)  # [F, 1, 3]
    lines = np.broadcast_to(line, (count, 3, 3))
    columns = np.broadcast_to(mesh.faces[:, :, None], (count, 3, 3))
    shape = (3 * count, len(mesh.vertices))
    entries = (gradients.reshape(-1), (lines.reshape(-1), columns.reshape(-1)))
    masses = np.bincount(mesh.faces.reshape(-1), np.repeat(areas / 3, 3), len(mesh.vertices))
    # A triangle without area has neither gradient nor weight.
    weights = np.where(areas > 1e-12 * areas.max(initial=0.0), areas, 0.0)
    operator = csr_array(coo_array(entries, shape=shape))
    return Variation(operator, 3, weights, _positive(masses))


def cell_variation(corners: Int[np.ndarray, "N 3"], sizes: Int[np.ndarray, "N"]) -> Variation:
    """DG0 on the leaves of an octree, or on the voxels of a grid: jumps times shared areas.

    Args:
        corners: Lowest corner of each cell in units of the smallest cell; cells do not overlap.
        sizes: Side of each cell in the same unit, a power of two that divides its corner.

    Raises:
        ValueError: Sizes that are no powers of two, or corners that are no multiples of them.
    """
    if len(corners) and (np.any(sizes < 1) or np.any(sizes & (sizes - 1))):
        raise ValueError(f"`sizes` must be powers of two, got {np.unique(sizes)[:8]}.")
    if np.any(corners % sizes[:, None]):
        raise ValueError("`corners` must be multiples of the cells' sizes.")
    pairs, areas = octree_neighbors(corners, sizes)
    masses = sizes.astype(np.float64) ** 3
    return Variation(_jumps(pairs, len(corners)), 1, areas, _positive(masses))


def edge_neighbors(
    faces: Int[np.ndarray, "F 3"],
) -> tuple[Int[np.ndarray, "K 2"], Int[np.ndarray, "K 2"]]:
    """Pairs of triangles that share an edge, and the vertices of that edge."""
    edges = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], 2).reshape(-1, 2), axis=1)
    owners = np.repeat(np.arange(len(faces)), 3)
    order = np.lexsort((owners, edges[:, 1], edges[:, 0]))
    edges, owners = edges[order], owners[order]
    shared = (edges[1:] == edges[:-1]).all(1) & (owners[1:] != owners[:-1])
    return np.stack([owners[:-1], owners[1:]], 1)[shared], edges[:-1][shared]


def octree_neighbors(
    corners: Int[np.ndarray, "N 3"], sizes: Int[np.ndarray, "N"]
) -> tuple[Int[np.ndarray, "K 2"], Float[np.ndarray, "K"]]:
    """Pairs of cells that touch with a positive area, and that area.

    Every cell asks, towards the positive and negative side of each axis, for the cell of its own
    size or larger there; pairs of equal size are met once only.
    """
    found, areas = [], []
    levels = np.unique(sizes)
    for axis in range(3):
        for direction in (1, -1):
            probe = corners.copy()
            probe[:, axis] += np.where(direction > 0, sizes, -1)
            for size in levels:
                askers = np.flatnonzero(sizes <= size if direction > 0 else sizes < size)
                there = np.flatnonzero(sizes == size)
                hits = _lookup(probe[askers] // size, corners[there] // size)
                kept = hits >= 0
                found.append(np.stack([askers[kept], there[hits[kept]]], 1))
                areas.append(sizes[askers[kept]].astype(np.float64) ** 2)
    return np.concatenate(found), np.concatenate(areas)


def _lookup(wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Row of `known` that equals each row of `wanted`; -1 for none."""
    low = np.minimum(wanted.min(0, initial=0), known.min(0, initial=0))
    span = np.maximum(wanted.max(0, initial=0), known.max(0, initial=0)) - low + 1
    if not len(known) or not len(wanted):
        return np.full(len(wanted), -1)
    keys, queries = (np.ravel_multi_index((part - low).T, span) for part in (known, wanted))
    order = np.argsort(keys)
    place = np.searchsorted(keys, queries, sorter=order).clip(max=len(keys) - 1)
    return np.where(keys[order[place]] == queries, order[place], -1)


def _jumps(pairs: Int[np.ndarray, "K 2"], count: int) -> csr_array:
    lines = np.repeat(np.arange(len(pairs)), 2)
    signs = np.tile([1.0, -1.0], len(pairs))
    entries = (signs, (lines, pairs.reshape(-1)))
    return csr_array(coo_array(entries, shape=(len(pairs), count)))


def _positive(masses: np.ndarray) -> np.ndarray:
    """Masses with those of degenerate or unused cells raised a little above zero."""
    largest = masses.max(initial=0.0) or 1.0
    return np.maximum(masses, 1e-9 * largest)
