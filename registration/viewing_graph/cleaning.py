"""Which edges of a viewing graph are wrong: every cycle votes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from .compatibility import Compatibility, quadruple_compatibility, triple_compatibility
from .graph import ViewingGraph

REJECT_SCORE = 5.0
"""Deviations from which a cycle counts as broken; deviations are only linear estimates."""

_GOOD_QUANTILE = 0.2  # even where every fifth edge is wrong, half of the triangles are good
_QUANTILE_OF_THREE = 0.815  # that of the largest of three independent normal sizes
_QUANTILE_OF_ONE = 0.253  # and of one
_FEWEST = 10  # cycles from which that quantile says how good the deviations are


@dataclass(frozen=True)
class CleanedGraph:
    """The verdict on every edge of a viewing graph."""

    keep: np.ndarray
    """True for edges that are not contradicted, [E] bool."""
    failing: Int[np.ndarray, "E"]
    """Broken cycles through each edge, before anything was removed."""
    passing: Int[np.ndarray, "E"]
    """Cycles through each edge that close."""
    triples: Compatibility
    """All triangles."""
    quadruples: Compatibility
    """All complete quadruples; empty where they were not asked for."""
    components: Int[np.ndarray, "N"]
    """Connected component of each view by the edges kept, 0 the largest."""


def clean(
    graph: ViewingGraph, *, use_quadruples: bool = True, reject_score: float = REJECT_SCORE
) -> CleanedGraph:
    """Remove the edges that explain the broken cycles best, one after the other.

    Each round takes the edge with the largest share of broken cycles; of equals the one in most of
    them, then that with the fewest matches. Its cycles leave with it. An edge is only taken if at
    least half of its cycles are broken: where a wrong neighbor breaks some, the others speak for
    it. Triples vote first; quadruples then vote alone, as triples that close say nothing about
    what only quadruples see.

    Real matches err together (lens distortion, repeated texture), so deviations estimated
    from their spread are too small. The best fifth of the cycles is good: where its scores are
    larger than chance allows, all deviations are enlarged by that factor.

    Args:
        graph: The viewing graph.
        use_quadruples: Also use the quadruple equation, which sees what triples cannot.
        reject_score: Deviations from which a cycle is broken.
    """
    triples = triple_compatibility(graph)
    quadruples = quadruple_compatibility(graph)
    if not use_quadruples:
        none = np.zeros(len(quadruples.scores), bool)
        quadruples = Compatibility(
            quadruples.views[none], quadruples.edges[none], quadruples.residuals[none],
            quadruples.scores[none],
        )  # fmt: skip
    matches = np.ones(len(graph.edges)) if graph.num_matches is None else graph.num_matches
    keep = np.ones(len(graph.edges), bool)
    failing, passing = np.zeros((2, len(graph.edges)), np.int64)
    for part, expected in ((triples, _QUANTILE_OF_THREE), (quadruples, _QUANTILE_OF_ONE)):
        telling = np.isfinite(part.scores)
        edges, scores = part.edges[telling], part.scores[telling]
        factor = 1.0
        if len(scores) >= _FEWEST and graph.deviations is not None:
            factor = max(1.0, float(np.quantile(scores, _GOOD_QUANTILE)) / expected)
        broken = scores > reject_score * factor
        failing += _count(edges[broken], len(keep))
        passing += _count(edges[~broken], len(keep))
        _remove(keep, edges, broken, matches)
    return CleanedGraph(keep, failing, passing, triples, quadruples, graph.components(keep))


def _remove(
    keep: np.ndarray, edges: Int[np.ndarray, "C M"], broken: np.ndarray, matches: np.ndarray
) -> None:
    """Take edges out of `keep` until no broken cycle is left that one of them explains."""
    while True:
        alive = keep[edges].all(axis=1)
        bad = _count(edges[alive & broken], len(keep))
        good = _count(edges[alive & ~broken], len(keep))
        share = bad / np.maximum(bad + good, 1)
        candidates = np.flatnonzero((bad > 0) & (share >= 0.5))
        if candidates.size == 0:
            return
        order = np.lexsort((matches[candidates], -bad[candidates], -share[candidates]))
        keep[candidates[order[0]]] = False


def _count(edges: np.ndarray, num_edges: int) -> Int[np.ndarray, "E"]:
    return np.bincount(edges.ravel(), minlength=num_edges)
