"""When fundamental matrices belong to one set of cameras: conditions on triples and quadruples.

With F_ij(k, l) = e_ik^T F_ij e_jl and centers in general position, a triple is compatible if
F_ij(k, k) = 0 for its three edges; a quadruple if its triples are and

    r_12 r_34 r_14 r_23 = r_13 r_24,   r_ij = F_ij(k, l) / F_ij(l, k),  {k < l} the other two.

Compatible quadruples make the whole complete graph compatible.

Reference: Bratelund and Rydell, "Compatibility of Fundamental Matrices for Complete Viewing
Graphs", ICCV 2023; the quadruple equation in this form follows with the four centers at the
coordinate points of space.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from .fundamental import epipoles
from .graph import ViewingGraph

_ROUNDING = 1e-9  # deviation of residuals of exact matrices
_WEAK = 1.0  # deviation of a logarithm above which a quadruple says nothing


@dataclass(frozen=True)
class Compatibility:
    """Residuals of all cycles of one length, and in how many deviations they differ from zero."""

    views: Int[np.ndarray, "C K"]
    """Views of each cycle, rising; K is 3 or 4."""
    edges: Int[np.ndarray, "C M"]
    """The edges among them in lexicographic order; M is 3 or 6."""
    residuals: Float[np.ndarray, "C"]
    """Triples: largest |F_ij(k, k)|, matrices and epipoles of norm 1. Quadruples: |log of the
    left by the right side|, or infinity where they differ in sign."""
    scores: Float[np.ndarray, "C"]
    """Residuals in standard deviations; NaN where the cycle is too weak to tell."""


def triple_compatibility(graph: ViewingGraph) -> Compatibility:
    """The epipole equations of every triangle."""
    index = graph.edge_index()
    found = [
        (a, b, c)
        for a, b in graph.edges.tolist()
        for c in range(b + 1, graph.num_views)
        if index[a, c] >= 0 and index[b, c] >= 0
    ]
    views = np.array(found, np.int64).reshape(-1, 3)
    edges = _edges_of(views, index)
    values = _with_deviations(graph, edges, _triple_values)
    residuals = np.abs(values.value).max(axis=1, initial=0.0)
    scores = (np.abs(values.value) / values.sigma).max(axis=1, initial=0.0)
    return Compatibility(views, edges, residuals, scores)


def quadruple_compatibility(graph: ViewingGraph) -> Compatibility:
    """The equation in all six matrices of every four views that are joined completely.

    Four centers in one plane make all its terms vanish; then, and wherever the terms are lost in
    noise, the score is NaN.
    """
    index = graph.edge_index()
    linked = index >= 0
    found = [
        (a, b, c, d)
        for a, b in graph.edges.tolist()
        for c, d in combinations(np.flatnonzero(linked[a] & linked[b]).tolist(), 2)
        if b < c and linked[c, d]
    ]
    views = np.array(found, np.int64).reshape(-1, 4)
    edges = _edges_of(views, index)
    values = _with_deviations(graph, edges, _quadruple_terms)
    logs = _quadruple_log(values.value)
    sigma = np.sqrt((values.sigma**2 / np.maximum(values.value**2, 1e-300)).sum(axis=1))
    if graph.deviations is not None:
        sigma = _log_deviation(values)
    lost = ~np.isfinite(logs) | (sigma > _WEAK)
    signs = np.prod(np.sign(values.value), axis=1)
    residuals = np.where(signs > 0, np.abs(logs), np.inf)
    # A sign is wrong with certainty if the smallest term is that many deviations from zero.
    certainty = (np.abs(values.value) / values.sigma).min(axis=1, initial=np.inf)
    scores = np.where(signs > 0, np.abs(logs) / np.maximum(sigma, _ROUNDING), certainty)
    return Compatibility(views, edges, residuals, np.where(lost, np.nan, scores))


def block_matrix_spectrum(
    graph: ViewingGraph, scales: Float[np.ndarray, "E"]
) -> Float[np.ndarray, "M"]:
    """Eigenvalues of the n-view matrix with blocks scales_ij F_ij, rising.

    Of a complete compatible graph with the right scales three are positive and three negative, the
    others zero (two and two for centers on a line).
    """
    n = graph.num_views
    blocks = np.zeros((n, n, 3, 3))
    i, j = graph.edges.T
    scaled = scales[:, None, None] * graph.F
    blocks[i, j], blocks[j, i] = scaled, scaled.transpose(0, 2, 1)
    return np.linalg.eigvalsh(blocks.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n))


@dataclass(frozen=True)
class _Values:
    value: Float[np.ndarray, "C V"]
    sigma: Float[np.ndarray, "C V"]
    changes: np.ndarray  # [C, P, V], or no P for exact matrices


def _edges_of(views: np.ndarray, index: np.ndarray) -> np.ndarray:
    pairs = list(combinations(range(views.shape[1]), 2))
    return np.stack([index[views[:, p], views[:, q]] for p, q in pairs], axis=1).reshape(
        len(views), len(pairs)
    )


def _with_deviations(graph: ViewingGraph, edges: np.ndarray, function) -> _Values:
    """`function` of the cycles' matrices [C, M, 3, 3], and its deviation by central differences."""
    F = graph.F / np.linalg.norm(graph.F, axis=(1, 2), keepdims=True)
    value = function(F[edges], F[edges])
    if graph.deviations is None:
        return _Values(value, np.full_like(value, _ROUNDING), np.zeros((len(value), 0, 1)))
    changes = []
    for side in range(edges.shape[1]):
        for k in range(7):
            moved = []
            for sign in (0.5, -0.5):
                shifted = F[edges].copy()
                shifted[:, side] += sign * graph.deviations[edges[:, side], k]
                moved.append(function(shifted, F[edges]))
            changes.append(moved[0] - moved[1])
    stacked = np.stack(changes, axis=1)
    sigma = np.sqrt((stacked**2).sum(axis=1) + _ROUNDING**2)
    return _Values(value, sigma, stacked)


def _epipoles_like(F: np.ndarray, reference: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Unit epipoles e[p, q] of view p from q, signs as the reference matrices have them."""
    count = 3 if F.shape[1] == 3 else 4
    found = {}
    for m, (p, q) in enumerate(combinations(range(count), 2)):
        for own, model, key in zip(
            epipoles(F[:, m]), epipoles(reference[:, m]), ((p, q), (q, p)), strict=True
        ):
            same = np.where((own * model).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
            found[key] = own * same
    return found


def _triple_values(F: np.ndarray, reference: np.ndarray) -> Float[np.ndarray, "C 3"]:
    e = _epipoles_like(F, reference)
    terms = [(0, 0, 1, 2), (1, 0, 2, 1), (2, 1, 2, 0)]  # edge, i, j, k
    return np.stack(
        [np.einsum("ca,cab,cb->c", e[i, k], F[:, m], e[j, k]) for m, i, j, k in terms], axis=1
    )


def _quadruple_terms(F: np.ndarray, reference: np.ndarray) -> Float[np.ndarray, "C 12"]:
    """F_ij(k, l) and F_ij(l, k) of the six edges in lexicographic order."""
    e = _epipoles_like(F, reference)
    terms = []
    for m, (i, j) in enumerate(combinations(range(4), 2)):
        k, l = (v for v in range(4) if v not in (i, j))  # noqa: E741
        terms.append(np.einsum("ca,cab,cb->c", e[i, k], F[:, m], e[j, l]))
        terms.append(np.einsum("ca,cab,cb->c", e[i, l], F[:, m], e[j, k]))
    return np.stack(terms, axis=1)


# Edges 12, 13, 14, 23, 24, 34; the second of each pair of terms divides.
_EXPONENTS = np.repeat([1.0, -1, 1, 1, -1, 1], 2) * np.tile([1.0, -1.0], 6)


def _quadruple_log(terms: np.ndarray) -> Float[np.ndarray, "C"]:
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(np.abs(terms), 1e-300)) @ _EXPONENTS


def _log_deviation(values: _Values) -> Float[np.ndarray, "C"]:
    """Deviation of the logarithm: the changes of one parameter act on all terms together."""
    tiny = np.abs(values.value) < 1e-12
    relative = values.changes / np.where(tiny, 1e-12, values.value)[:, None]
    return np.linalg.norm(relative @ _EXPONENTS, axis=1)
