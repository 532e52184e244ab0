"""Viewing graphs of random cameras, and wrong edges that triples cannot see."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Float

from .fundamental import epipoles, fundamental_of_cameras
from .graph import ViewingGraph


def random_cameras(count: int, *, seed: int) -> Float[np.ndarray, "N 3 4"]:
    """Cameras around the unit ball that look at its middle, focal length 1 to 2."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        center = rng.normal(size=3)
        center *= rng.uniform(3, 5) / np.linalg.norm(center)
        z = -center / np.linalg.norm(center) + 0.1 * rng.normal(size=3)
        z /= np.linalg.norm(z)
        x = np.cross(rng.normal(size=3), z)
        x /= np.linalg.norm(x)
        R = np.stack([x, np.cross(z, x), z])
        f = rng.uniform(1, 2)
        found.append(np.diag([f, f, 1.0]) @ np.concatenate([R, -(R @ center)[:, None]], axis=1))
    return np.stack(found)


def exact_graph(P: Float[np.ndarray, "N 3 4"], *, band: int | None = None) -> ViewingGraph:
    """All pairs of cameras, or those at most `band` apart in their order."""
    edges = [(i, j) for i, j in combinations(range(len(P)), 2) if band is None or j - i <= band]
    F = np.stack([fundamental_of_cameras(P[i], P[j]) for i, j in edges])
    return ViewingGraph(len(P), np.array(edges), F)


def hidden_change(
    graph: ViewingGraph, edge: int, views: tuple[int, int], factor: float
) -> Float[np.ndarray, "3 3"]:
    """Another matrix for an edge, with which the triangles with two other views still close.

    Epipoles stay, and so do the lines through them that contain the epipoles of `views`; only the
    ratio F_ij(k, l) / F_ij(l, k) changes by `factor`. With fewer than three views joined to both
    ends no triple can notice.
    """
    i, j = graph.edges[edge].tolist()
    k, l = views  # noqa: E741
    index = graph.edge_index()

    def epipole(a: int, b: int) -> np.ndarray:
        left, right = epipoles(graph.F[index[a, b]])
        return left if a < b else right

    F = graph.F[edge]
    left = np.linalg.inv(np.stack([epipole(i, k), epipole(i, l), epipole(i, j)]))
    right = np.linalg.inv(np.stack([epipole(j, k), epipole(j, l), epipole(j, i)]))
    inner = np.linalg.inv(left) @ F @ np.linalg.inv(right).T
    root = np.sqrt(factor)
    inner[0, 1] *= root
    inner[1, 0] /= root
    # Clear what rounding left where the epipole equations have zeros.
    inner[[0, 1, 2, 2, 2, 0, 1], [0, 1, 0, 1, 2, 2, 2]] = 0.0
    changed = left @ inner @ right.T
    return changed / np.linalg.norm(changed)


def noisy_graph(
    P: Float[np.ndarray, "N 3 4"],
    *,
    num_points: int,
    noise: float,
    seed: int,
    band: int | None = None,
) -> ViewingGraph:
    """Fundamental matrices estimated from noisy images of random points, with covariances."""
    from .fundamental import estimate_fundamental

    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.uniform(-1, 1, (num_points, 3)), np.ones((num_points, 1))], axis=1)
    images = np.einsum("nab,pb->npa", P, points)
    images = images[..., :2] / images[..., 2:]
    exact = exact_graph(P, band=band)
    found = []
    for i, j in exact.edges.tolist():
        a, b = (images[v] + noise * rng.normal(size=images[v].shape) for v in (i, j))
        found.append(estimate_fundamental(a, b, unit=noise))
    F = np.stack([estimate.F for estimate in found])
    deviations = np.stack([estimate.deviations for estimate in found])
    return ViewingGraph(len(P), exact.edges, F, deviations)
