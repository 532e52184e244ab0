"""How close a shape is to another: the one definition of every score (docs/shapes.md).

Distances are in units of the box [-1, 1]^3 that shapes are normalized to; the diagonal of a
normalized bounding box is at most 2 · 0.95 · √3 = 3.29.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from .bvh import MeshIndex
from .mesh import TriangleMesh
from .sampling import SIGMAS, sharp_points, surface_points
from .topology import Topology

POINTS = 100_000
"""Points per surface, uniform by area."""
TAU = 0.01
"""Threshold of the F-score "at 1 %": half a percent of the box's side, as other papers' 1 % of a
half side; lattices coarser than this cannot reach 1, hence the ceiling beside it."""
SHARP_TAU = 0.02


@dataclass(frozen=True)
class SurfaceScores:
    """A predicted surface against the true one."""

    chamfer_l1: float
    """Half the sum of the two mean distances from points to the surface, not squared, box units."""
    f_score: float
    """Harmonic mean of precision and recall at `TAU`, in [0, 1]."""
    f_score_2: float
    """The same at twice the threshold, 0.02."""
    normal_consistency: float
    """Mean |n · n'| between nearest points, both ways, in [0, 1]."""
    sharp_f: float | None
    """F-score at 0.02 between points on sharp edges; None where the true surface has none."""

    @property
    def chamfer_sum(self) -> float:
        """The Chamfer distance as 3DShape2VecSet prints it: the sum of the two means."""
        return 2 * self.chamfer_l1


@dataclass(frozen=True)
class Surface:
    """A surface as scores need it: points on it, and where it is nearest to other points."""

    points: Float[np.ndarray, "n 3"]
    """Uniform by area."""
    normals: Float[np.ndarray, "n 3"]
    """Unit normals."""
    sharp: Float[np.ndarray, "s 3"]
    """On edges with a dihedral angle above 30 degrees."""
    index: MeshIndex
    """The surface itself."""
    face_normals: Float[np.ndarray, "f 3"]
    """Unit normals of its faces."""

    @classmethod
    def of(cls, mesh: TriangleMesh, *, count: int = POINTS, seed: int = 0) -> Surface:
        """Sample a mesh; equal seeds give equal points."""
        points, normals, _ = surface_points(mesh, count, seed=seed)
        sharp, _ = sharp_points(mesh, Topology.of(mesh), count // 10, seed=seed)
        vectors = mesh.area_vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return cls(points, normals, sharp, MeshIndex(mesh), vectors / np.maximum(lengths, 1e-300))


def surface_scores(true: Surface, predicted: Surface) -> SurfaceScores:
    """Scores of a surface.

    Distances lead from sampled points to the other surface itself. From points to points, as some
    papers have it, 100,000 of them are 0.005 apart on a sphere that fills the box: its F-score at
    0.01 against itself would be 0.95.
    """
    to_true, forward = _nearest(predicted, true)
    to_predicted, backward = _nearest(true, predicted)
    sharp = None
    if len(true.sharp):
        sharp = 0.0
        if len(predicted.sharp):
            sharp = _f_score(
                KDTree(true.sharp).query(predicted.sharp)[0],
                KDTree(predicted.sharp).query(true.sharp)[0],
                SHARP_TAU,
            )
    return SurfaceScores(
        chamfer_l1=float(0.5 * (to_true.mean() + to_predicted.mean())),
        f_score=_f_score(to_true, to_predicted, TAU),
        f_score_2=_f_score(to_true, to_predicted, 2 * TAU),
        normal_consistency=float(0.5 * (forward + backward)),
        sharp_f=sharp,
    )


def _nearest(source: Surface, target: Surface) -> tuple[Float[np.ndarray, "n"], float]:
    """Distances from the points of `source` to `target`, and the mean |n · n'| there."""
    found = target.index.closest(source.points)
    cosines = (source.normals * target.face_normals[found.faces]).sum(1)
    return found.distances, float(np.abs(cosines).mean())


def _f_score(to_true: np.ndarray, to_predicted: np.ndarray, tau: float) -> float:
    precision, recall = float((to_true < tau).mean()), float((to_predicted < tau).mean())
    return 2 * precision * recall / max(precision + recall, 1e-12)


def volume_iou(true: Float[np.ndarray, "n"], predicted: Float[np.ndarray, "n"]) -> float:
    """Intersection over union of the insides (distance < 0) at points uniform in the box; 1 where
    both are empty."""
    a, b = true < 0, predicted < 0
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def near_accuracy(
    true: Float[np.ndarray, "n"], predicted: Float[np.ndarray, "n"], sigma: Int[np.ndarray, "n"]
) -> tuple[float, ...]:
    """Share of near points on the right side, for each of `SIGMAS`: mixed, they hide detail."""
    right = (true < 0) == (predicted < 0)
    return tuple(float(right[sigma == i].mean()) for i in range(len(SIGMAS)))


@dataclass(frozen=True)
class TopologyGap:
    """How a predicted mesh hangs together, minus the true one."""

    components: int
    """Difference in the number of components."""
    genus: float
    """Difference in the sum of genera, closed components each counting 1 - χ/2."""
    boundary_edges: int
    """Difference in open edges."""


def topology_gap(true: TriangleMesh, predicted: TriangleMesh) -> TopologyGap:
    """Counts of the predicted mesh minus those of the true one."""
    (c0, g0, b0), (c1, g1, b1) = (_counts(Topology.of(mesh)) for mesh in (true, predicted))
    return TopologyGap(c1 - c0, g1 - g0, b1 - b0)


def _counts(topology: Topology) -> tuple[int, float, int]:
    components = int(topology.components.max()) + 1
    return components, components - topology.euler / 2, topology.boundary_edges


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval."""

    mean: float
    """Of the values."""
    low: float
    """2.5th percentile of resampled means."""
    high: float
    """97.5th percentile."""

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2


def bootstrap(values: Float[np.ndarray, "n"], *, rounds: int = 2000, seed: int = 0) -> Interval:
    """95 % interval of the mean by resampling `values` (shapes, or differences of paired ones)."""
    values = np.asarray(values, np.float64)
    if len(values) == 0:
        raise ValueError("`values` must hold at least one value.")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (rounds, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def better(ours: Float[np.ndarray, "n"], theirs: Float[np.ndarray, "n"]) -> tuple[bool, Interval]:
    """Whether `ours` exceeds `theirs` on the same shapes beyond doubt, and by how much.

    False while the paired interval holds zero.
    """
    gap = bootstrap(np.asarray(ours) - np.asarray(theirs))
    return gap.low > 0, gap


def active_units(latents: Float[np.ndarray, "s d"], *, threshold: float = 0.01) -> float:
    """Share of a latent's numbers whose variance over shapes exceeds `threshold` (Burda et al.,
    2016): what an average KL hides."""
    return float((np.var(latents, axis=0) > threshold).mean())
