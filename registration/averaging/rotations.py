"""Global rotations from relative ones: flag median, flag mean, L1-IRLS and the chordal mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from . import so3
from .flag_synchronization import flag_descent, flag_distances
from .graph import RotationGraph
from .l1_irls import l1_irls
from .medoids import medoid_sweeps
from .mixture import fit_mixture
from .starts import spectral_start, support_weights, tree_start

RotationMethod = Literal["flag-median", "flag-mean", "l1-irls", "chordal"]
"""`chordal` is the spectral relaxation alone, which the others start from."""


@dataclass(frozen=True)
class AveragedRotations:
    """Rotations of all nodes and how well each edge agrees with them."""

    rotations: Float[np.ndarray, "N 3 3"]
    """R_world_i; in every connected component the first node has the identity."""
    residuals: Float[np.ndarray, "E"]
    """Angle between R_ij and R_i^T R_j in radians."""
    confidence: Float[np.ndarray, "E"]
    """Probability in [0, 1] that the edge is a noisy measurement and not an outlier."""
    noise: float
    """Standard deviation of good edges per axis in radians; 0 without redundancy."""
    components: Int[np.ndarray, "N"]
    """Connected component of each node, 0 the largest: rotations compare only inside one."""


def average_rotations(
    graph: RotationGraph,
    *,
    method: RotationMethod = "flag-median",
    polish: bool = True,
    least_noise: float = 0.0,
) -> AveragedRotations:
    """Rotations R_i that agree best with the measured R_ij = R_i^T R_j.

    The flag median minimizes the sum of chordal flag distances over all edges: bounded residuals,
    so that a wild edge pulls no harder than a bad one. It begins at three starts (the spectral
    relaxation, the spanning tree of the edges that most triangles speak for, and L1-IRLS), keeps
    the lowest valley, and takes Newton steps with the graph's Laplacian, which is that cost's
    Hessian up to curvature.

    A median wastes some of the good edges' information. `polish` ends with flag means weighted by
    each edge's probability of being no outlier, under a mixture of Gaussian noise and uniform
    rotations whose width and share are estimated along; nothing is tuned.

    Args:
        graph: The measurements. Parallel edges count separately; unconnected parts get unrelated
            world frames.
        method: How to average.
        polish: End the flag median with the reweighted mean.
        least_noise: Standard deviation per axis that measurements have at least, radians: small
            disagreements then make no outliers where few edges show how large the noise is.

    Raises:
        ValueError: `method` is unknown.
    """
    if method not in get_args(RotationMethod):
        raise ValueError(f"`method` must be one of {get_args(RotationMethod)}, got {method!r}.")
    labels = graph.components()
    anchors = np.unique(labels, return_index=True)[1]
    if len(graph.edges) == 0:
        nothing = np.zeros(0)
        identity = np.tile(np.eye(3), (graph.num_nodes, 1, 1))
        return AveragedRotations(identity, nothing, nothing, 0.0, labels)
    rotations = _SOLVERS[method](graph, anchors)
    if method == "flag-median" and polish:
        rotations = _polished(graph, rotations, anchors, least_noise)
    rotations = rotations[anchors][labels].transpose(0, 2, 1) @ rotations
    residuals = edge_residuals(graph, rotations)
    unknowns = graph.num_nodes - len(anchors)
    mixture = fit_mixture(residuals, graph.edge_weights, unknowns, least_noise=least_noise)
    return AveragedRotations(rotations, residuals, mixture.confidence, mixture.noise, labels)


def edge_residuals(
    graph: RotationGraph, rotations: Float[np.ndarray, "N 3 3"]
) -> Float[np.ndarray, "E"]:
    """Angle between each R_ij and R_i^T R_j in radians."""
    i, j = graph.edges.T
    return so3.angles(rotations[i] @ graph.rotations, rotations[j])


def _flag_median(graph: RotationGraph, anchors: np.ndarray) -> np.ndarray:
    support = support_weights(graph)
    starts = [
        spectral_start(graph, graph.edge_weights * support**2),
        tree_start(graph, support * graph.edge_weights),
        l1_irls(graph, anchors),
    ]
    found = [_median_from(graph, start, anchors) for start in starts]
    found = [
        guess
        for number, guess in enumerate(found)
        if all(so3.angles(guess, other).max() > 1e-2 for other in found[:number])  # other valleys
    ]
    for number, guess in enumerate(found):
        leapt = medoid_sweeps(graph, guess)
        if not np.array_equal(leapt, guess):
            found[number] = _median_from(graph, leapt, anchors, 1e-1)
    costs = [float(graph.edge_weights @ flag_distances(graph, guess)) for guess in found]
    return found[int(np.argmin(costs))]


def _median_from(
    graph: RotationGraph, rotations: np.ndarray, anchors: np.ndarray, smoothing: float = 0.5
) -> np.ndarray:
    """Weiszfeld's weights 1 / max(d, eps), eps falling: medians of ever less smoothed distances."""
    for eps in np.geomspace(smoothing, 1e-3, 8):
        for _ in range(4):
            weights = graph.edge_weights / np.maximum(flag_distances(graph, rotations), eps)
            rotations, step = flag_descent(graph, rotations, weights, anchors)
            if step < 0.02 * eps:
                break
    return rotations


def _polished(
    graph: RotationGraph, rotations: np.ndarray, anchors: np.ndarray, least_noise: float
) -> np.ndarray:
    unknowns = graph.num_nodes - len(anchors)
    for _ in range(30):
        residuals = edge_residuals(graph, rotations)
        mixture = fit_mixture(residuals, graph.edge_weights, unknowns, least_noise=least_noise)
        # A floor keeps parts connected that outliers alone hold together.
        weights = graph.edge_weights * np.maximum(mixture.precision, 1e-6)
        rotations, step = flag_descent(graph, rotations, weights, anchors)
        if step < 1e-8:
            break
    return rotations


def _flag_mean(graph: RotationGraph, anchors: np.ndarray) -> np.ndarray:
    rotations = spectral_start(graph, graph.edge_weights)
    for _ in range(60):
        rotations, step = flag_descent(graph, rotations, graph.edge_weights, anchors)
        if step < 1e-9:
            break
    return rotations


def _chordal(graph: RotationGraph, anchors: np.ndarray) -> np.ndarray:
    return spectral_start(graph, graph.edge_weights)


_SOLVERS: dict[str, Callable[[RotationGraph, np.ndarray], np.ndarray]] = {
    "flag-median": _flag_median,
    "flag-mean": _flag_mean,
    "l1-irls": l1_irls,
    "chordal": _chordal,
}
