"""Projective cameras that have given fundamental matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .fundamental import epipoles, fundamental_of_cameras
from .graph import ViewingGraph

_REFINEMENTS = 100


@dataclass(frozen=True)
class ProjectiveCameras:
    """Cameras up to one projective map of space."""

    P: Float[np.ndarray, "N 3 4"]
    """x = P X; NaN for views that two edges do not tie to the others."""
    residuals: Float[np.ndarray, "E"]
    """Distance of each F_ij from that of the cameras, both of norm 1; NaN where one is missing."""


def projective_cameras(graph: ViewingGraph, *, refine: bool = True) -> ProjectiveCameras:
    """Cameras whose fundamental matrices are those of the graph, exactly if it is compatible.

    The first two are [I | 0] and [[e]_x F | e]. Every further view m solves "P_j^T F_jm P_m is
    skew" for all views j that are known and joined to it: ten linear equations for each, of which
    two views fix P_m up to scale. With noise, Levenberg-Marquardt then spreads the misfit over all
    cameras.

    Args:
        graph: Views and matrices; the largest part that can be built up this way is used.
        refine: Minimize the sum of squared residuals over all cameras.

    Raises:
        ValueError: The graph has no edge.
    """
    if len(graph.edges) == 0:
        raise ValueError("`graph` must have at least one edge, got none.")
    index = graph.edge_index()
    degree = (index >= 0).sum(axis=1)
    first = int(np.argmax(degree[graph.edges].sum(axis=1)))
    i, j = graph.edges[first].tolist()
    known: dict[int, np.ndarray] = {i: np.eye(3, 4), j: _second_camera(graph.F[first].T)}
    while True:
        links = {
            m: sum(index[m, k] >= 0 for k in known)
            for m in range(graph.num_views)
            if m not in known
        }
        if not links or max(links.values()) < 2:
            break
        m = max(links, key=lambda view: (links[view], -view))
        known[m] = _resection(graph, index, known, m)
    P = np.full((graph.num_views, 3, 4), np.nan)
    for view, camera in known.items():
        P[view] = camera / np.linalg.norm(camera)
    if refine and len(known) > 2:
        P = _refined(graph, P, fixed=(i, j))
    return ProjectiveCameras(P, _residuals(graph, P))


def _second_camera(F_ji: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 4"]:
    """P_j beside P_i = [I | 0]."""
    e = epipoles(F_ji)[0]
    cross = np.array([[0, -e[2], e[1]], [e[2], 0, -e[0]], [-e[1], e[0], 0]])
    return np.concatenate([cross @ F_ji, e[:, None]], axis=1)


def _resection(graph: ViewingGraph, index: np.ndarray, known: dict[int, np.ndarray], m: int):
    rows = []
    for j, P_j in known.items():
        edge = index[j, m]
        if edge < 0:
            continue
        F = graph.F[edge] / np.linalg.norm(graph.F[edge])
        F_jm = F if j < m else F.T
        A = P_j.T @ F_jm  # S = A P_m must be skew: S + S^T = 0
        for a in range(4):
            for b in range(a, 4):
                row = np.zeros((3, 4))
                row[:, b] += A[a]
                row[:, a] += A[b]
                rows.append(row.ravel())
    return np.linalg.svd(np.array(rows))[2][11].reshape(3, 4)


def _residuals(graph: ViewingGraph, P: np.ndarray) -> Float[np.ndarray, "E"]:
    found = np.full(len(graph.edges), np.nan)
    for e, (i, j) in enumerate(graph.edges.tolist()):
        if np.isfinite(P[i]).all() and np.isfinite(P[j]).all():
            found[e] = np.linalg.norm(_difference(graph.F[e], P[i], P[j]))
    return found


def _difference(F: np.ndarray, P_i: np.ndarray, P_j: np.ndarray) -> Float[np.ndarray, "3 3"]:
    """Unit F less that of the cameras with the sign that fits better."""
    model = fundamental_of_cameras(P_i, P_j)
    F = F / np.linalg.norm(F)
    return F - (model if (F * model).sum() >= 0 else -model)


def _refined(graph: ViewingGraph, P: np.ndarray, *, fixed: tuple[int, int]) -> np.ndarray:
    from scipy.optimize import least_squares

    views = np.flatnonzero(np.isfinite(P).all(axis=(1, 2)))
    edges = [
        (e, i, j) for e, (i, j) in enumerate(graph.edges.tolist()) if {i, j} <= set(views.tolist())
    ]
    free = [view for view in views.tolist() if view != fixed[0]]

    def cameras(x: np.ndarray) -> np.ndarray:
        moved = P.copy()
        moved[free] = x.reshape(-1, 3, 4)
        return moved

    def misfit(x: np.ndarray) -> np.ndarray:
        moved = cameras(x)
        return np.concatenate([_difference(graph.F[e], moved[i], moved[j]).ravel()
                               for e, i, j in edges])  # fmt: skip

    start = P[free].ravel()
    found = least_squares(misfit, start, method="trf", max_nfev=_REFINEMENTS, x_scale="jac")
    before = float((misfit(start) ** 2).sum())
    return cameras(found.x) if 2 * found.cost < before else P
