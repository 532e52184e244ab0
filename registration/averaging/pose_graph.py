"""Poses of all nodes from relative ones: averages to begin with, then robust least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .cycles import bridges
from .graph import RotationGraph, check_edges, components
from .pose_refinement import Poses, Relative, refine_poses
from .rotations import RotationMethod, average_rotations
from .translations import average_translations


@dataclass(frozen=True)
class PoseGraph:
    """Measured relative poses: T_world_j = T_world_i T_ij for every edge (i, j), up to noise."""

    num_nodes: int
    """Number of nodes; some may have no edge."""
    edges: Int[np.ndarray, "E 2"]
    """Nodes (i, j) of each edge, i != j; parallel edges are separate measurements."""
    transforms: Float[np.ndarray, "E 4 4"]
    """T_ij, points of frame j to frame i; rigid, or similarities with the scale inside."""
    weights: Float[np.ndarray, "E"] | None = None
    """Inverse variances up to a factor, positive; None weighs all alike."""

    def __post_init__(self) -> None:
        check_edges(self.num_nodes, self.edges)
        count = len(self.edges)
        if self.transforms.shape != (count, 4, 4) or not np.isfinite(self.transforms).all():
            raise ValueError(
                f"`transforms` must be [{count}, 4, 4] and finite, one for each edge, got "
                f"{list(self.transforms.shape)} with "
                f"{int((~np.isfinite(self.transforms)).sum())} numbers that are not finite."
            )
        if count and np.abs(self.transforms[:, 3] - np.array([0, 0, 0, 1.0])).max() > 1e-9:
            raise ValueError("`transforms` must have the last row 0 0 0 1.")

    def components(self, keep: np.ndarray | None = None) -> Int[np.ndarray, "N"]:
        """Connected component of each node by the edges `keep` (None: all), 0 the largest."""
        return components(self.num_nodes, self.edges if keep is None else self.edges[keep])

    def relative(self) -> Relative:
        """The transforms as rotations, translations and logarithms of scales."""
        linear = self.transforms[:, :3, :3]
        scales = np.cbrt(np.linalg.det(linear)) if len(linear) else np.zeros(0)
        if (scales <= 0).any():
            worst = int(scales.argmin())
            raise ValueError(
                f"`transforms` must keep orientation; number {worst} mirrors or collapses space."
            )
        return Relative(linear / scales[:, None, None], self.transforms[:, :3, 3], np.log(scales))


@dataclass(frozen=True)
class OptimizedPoses:
    """Poses of all nodes and what became of the edges."""

    T_world_node: Float[np.ndarray, "N 4 4"]
    """In every component the first node is the world frame."""
    confidence: Float[np.ndarray, "E"]
    """Probability in [0, 1] that an edge is a noisy measurement and not an outlier."""
    rotation_residuals: Float[np.ndarray, "E"]
    """Radians."""
    translation_residuals: Float[np.ndarray, "E"]
    """In units of frame i."""
    unverified: np.ndarray
    """True for edges in no cycle of accepted edges: nothing contradicts or confirms them."""
    components: Int[np.ndarray, "N"]
    """Connected component by accepted edges, 0 the largest; poses compare only inside one."""


def optimize_poses(
    graph: PoseGraph,
    *,
    with_scale: bool = False,
    method: RotationMethod = "flag-median",
    least_noise: tuple[float, float] = (0.0, 0.0),
) -> OptimizedPoses:
    """Poses that agree best with the edges, of which a minority may be wrong.

    Rotations come first, by `average_rotations`; edges that they contradict no longer count. Then
    scales (if asked for) and translations by convex L1 problems, and a joint refinement by
    Gauss-Newton with a redescending kernel whose width is estimated from the residuals.

    Args:
        graph: The measurements.
        with_scale: Estimate similarities; otherwise the edges' scales must be 1.
        method: How rotations are averaged.
        least_noise: Standard deviations per axis that rotations (radians) and translations have at
            least. Few edges do not show their noise; without this, the largest of a few small
            disagreements would count as an outlier.

    Raises:
        ValueError: an edge has a scale and `with_scale` is off, or a mirroring transform.
    """
    measured = graph.relative()
    if not with_scale and np.abs(measured.log_scales).max(initial=0.0) > 1e-4:
        worst = int(np.abs(measured.log_scales).argmax())
        raise ValueError(
            f"`transforms` number {worst} has scale {np.exp(measured.log_scales[worst]):.4g}; "
            "pass with_scale=True, or register without scale."
        )
    rotations = RotationGraph(graph.num_nodes, graph.edges, measured.rotations, graph.weights)
    averaged = average_rotations(rotations, method=method, least_noise=least_noise[0])
    trusted = np.maximum(averaged.confidence, 1e-6) * rotations.edge_weights
    anchors = np.unique(averaged.components, return_index=True)[1]
    start = _placed(graph, measured, averaged.rotations, trusted, anchors, with_scale=with_scale)
    refined = refine_poses(
        graph.num_nodes, graph.edges, measured, start,
        weights=rotations.edge_weights, prior=averaged.confidence, anchors=anchors,
        with_scale=with_scale, least_noise=least_noise,
    )  # fmt: skip
    return _result(graph, refined.poses, refined.confidence, refined.residuals)


def _placed(
    graph: PoseGraph, measured: Relative, rotations: np.ndarray, trusted: np.ndarray,
    anchors: np.ndarray, *, with_scale: bool,
) -> Poses:  # fmt: skip
    i = graph.edges[:, 0]
    log_scales = np.zeros(graph.num_nodes)
    if with_scale:
        log_scales = average_translations(
            graph.num_nodes, graph.edges, measured.log_scales[:, None], anchors, weights=trusted
        )[:, 0]
    offsets = np.einsum("eab,eb->ea", rotations[i], measured.translations)
    offsets *= np.exp(log_scales[i])[:, None]
    positions = average_translations(
        graph.num_nodes, graph.edges, offsets, anchors, weights=trusted
    )
    return Poses(rotations, positions, log_scales)


def _result(
    graph: PoseGraph, poses: Poses, confidence: np.ndarray, residuals: np.ndarray
) -> OptimizedPoses:
    accepted = confidence > 0.5
    labels = graph.components(accepted)
    unverified = np.zeros(len(graph.edges), bool)
    unverified[accepted] = bridges(graph.num_nodes, graph.edges[accepted])
    matrices = poses.matrices()
    first = np.unique(labels, return_index=True)[1]
    matrices = np.linalg.inv(matrices[first])[labels] @ matrices
    return OptimizedPoses(
        T_world_node=matrices,
        confidence=confidence,
        rotation_residuals=np.linalg.norm(residuals[:, :3], axis=1),
        translation_residuals=np.linalg.norm(residuals[:, 3:6], axis=1),
        unverified=unverified,
        components=labels,
    )
