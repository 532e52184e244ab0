"""How far two surfaces are apart: Chamfer distance and F-score of points sampled on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from captures import Cameras

from .mesh import Mesh
from .scene import MeshScene

NUM_POINTS = 200_000
"""Points sampled on each surface."""


@dataclass(frozen=True)
class SurfaceDistance:
    """Of a reconstruction from its truth, in world units."""

    accuracy: float
    """Mean distance of the reconstruction's points from the truth."""
    completeness: float
    """Mean distance of the truth's points from the reconstruction."""
    precision: float
    """Share of the reconstruction's points within the threshold of the truth."""
    recall: float
    """Share of the truth's points within the threshold of the reconstruction."""
    threshold: float
    """World units."""

    @property
    def chamfer(self) -> float:
        """Mean of both mean distances."""
        return (self.accuracy + self.completeness) / 2

    @property
    def f_score(self) -> float:
        """Harmonic mean of precision and recall (Knapitsch et al., "Tanks and Temples", 2017)."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def surface_distance(
    reconstruction: Float[np.ndarray, "N 3"], truth: Float[np.ndarray, "M 3"], *, threshold: float
) -> SurfaceDistance:
    """Compare points sampled on two surfaces.

    Raises:
        ValueError: No points on one side.
    """
    from scipy.spatial import KDTree

    if not len(reconstruction) or not len(truth):
        raise ValueError(
            f"both surfaces need points, got {len(reconstruction)} and {len(truth)}; "
            "a mesh is empty or no camera sees it."
        )
    forward = KDTree(truth).query(reconstruction)[0]
    backward = KDTree(reconstruction).query(truth)[0]
    return SurfaceDistance(
        accuracy=float(forward.mean()),
        completeness=float(backward.mean()),
        precision=float((forward <= threshold).mean()),
        recall=float((backward <= threshold).mean()),
        threshold=threshold,
    )


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Where points lie on a mesh."""

    positions: Float[np.ndarray, "N 3"]
    """World positions, float64."""
    faces: Int[np.ndarray, "N"]
    """Faces they lie on."""
    weights: Float[np.ndarray, "N 3"]
    """Barycentric coordinates there."""


def sample_surface(mesh: Mesh, count: int, *, seed: int = 0) -> SurfacePoints:
    """Evenly spread random points: each face gets its share of the area, rounded at random once.

    The shares are stratified (systematic sampling of the summed areas), so that a region's number
    of points differs from its due by less than one and the spacing is more even than of
    independent draws.

    Raises:
        ValueError: The mesh has no area.
    """
    random = np.random.default_rng(seed)
    areas = np.linalg.norm(mesh.area_vectors(), axis=1)
    total = areas.sum()
    if not total > 0:
        raise ValueError("`mesh` has no area to sample; its triangles are degenerate.")
    places = (np.arange(count) + random.random(count)) * (total / count)
    faces = np.searchsorted(np.cumsum(areas), places, "right").clip(max=len(areas) - 1)
    root, share = np.sqrt(random.random(count)), random.random(count)
    weights = np.stack([1 - root, root * (1 - share), root * share], 1)
    positions = np.einsum("nc,ncd->nd", weights, mesh.vertices[mesh.faces[faces]])
    return SurfacePoints(positions, faces, weights)


def visible_from(
    mesh: Mesh, points: Float[np.ndarray, "N 3"], cameras: Cameras, *, tolerance: float
) -> Bool[np.ndarray, "N"]:
    """Whether any camera sees a point, the mesh being at most `tolerance` before it."""
    scene, seen = MeshScene(mesh), np.zeros(len(points), bool)
    for index in range(len(cameras)):
        camera = cameras[index]
        nearness = scene.fragments(camera).inverse_depths
        viewmat, K = camera.viewmats[0].numpy(), camera.Ks[0].numpy()
        local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
        z = np.maximum(local[:, 2], 1e-12)
        u, v = (local @ K.T)[:, :2].T / z
        inside = (local[:, 2] > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        rows = np.flatnonzero(inside & ~seen)
        known = nearness[v[rows].astype(int), u[rows].astype(int)]
        limit = np.where(known > 0, 1 / np.where(known > 0, known, 1), np.inf)
        seen[rows] = z[rows] <= limit + tolerance
    return seen
