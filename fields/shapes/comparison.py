"""Scores of meshes and latents against one true mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from .bvh import MeshIndex
from .decoding import Distance, extract_mesh
from .health import Examined, Health, examine
from .latent_file import latent_asset, load_latent
from .mesh import TriangleMesh, load_mesh
from .metrics import Surface, SurfaceScores, surface_scores, volume_iou
from .models.coding import SLACK, distance_of, encode_shape
from .models.weights import LoadedModel
from .prepare import Options, sample
from .sampling import Counts, volume_points
from .signed_distance import SignedDistance


@dataclass(frozen=True)
class Row:
    """One shape against the truth."""

    surface: SurfaceScores
    """Scores of sampled points."""
    iou: float
    """Of the insides, at uniform points of the box."""
    num_bytes: int | None
    """Size of the file, None for the ceiling."""


@dataclass(frozen=True)
class Comparison:
    """A true shape, sampled once."""

    examined: Examined
    """The true mesh in its box."""
    surface: Surface
    """Its points."""
    volume: Float[np.ndarray, "n 3"]
    """Points uniform in the box."""
    inside: Float[np.ndarray, "n"]
    """Their true signed distances."""
    resolution: int
    """Cells per side of every lattice."""
    points: int
    """Points per surface."""
    seed: int
    """Of all samples."""

    @classmethod
    def of(
        cls, truth: Path | TriangleMesh, *, resolution: int, points: int, seed: int = 0
    ) -> Comparison:
        """Prepare the true shape.

        Raises:
            MeshError: It has no surface.
        """
        mesh = load_mesh(truth) if isinstance(truth, Path) else truth
        examined = examine(mesh, name=str(truth) if isinstance(truth, Path) else "mesh", seed=seed)
        volume = volume_points(points, seed=seed + 3)
        return cls(
            examined=examined,
            surface=Surface.of(examined.mesh, count=points, seed=seed),
            volume=volume,
            inside=examined.distance(volume),
            resolution=resolution,
            points=points,
            seed=seed,
        )

    @property
    def health(self) -> Health:
        """What is wrong with the true mesh."""
        return self.examined.health

    def ceiling(self) -> Row:
        """The true distances through the same lattice: what no model can exceed."""
        return self.of_distance(self.examined.distance)

    def of_distance(self, distance: Distance, *, slack: float = 1.0) -> Row:
        """Scores of a signed distance function."""
        mesh = extract_mesh(distance, self.resolution, slack=slack)
        predicted = Surface.of(mesh, count=self.points, seed=self.seed + 7)
        iou = volume_iou(self.inside, distance(self.volume))
        return Row(surface_scores(self.surface, predicted), iou, None)

    def of_mesh(self, mesh: TriangleMesh, num_bytes: int | None = None) -> Row:
        """Scores of a mesh in the frame of the true one."""
        boxed = mesh.placed(self.examined.normalization.to_box(mesh.vertices))
        predicted = Surface.of(boxed, count=self.points, seed=self.seed + 7)
        distance = SignedDistance(MeshIndex(boxed), "solid")
        iou = volume_iou(self.inside, distance(self.volume))
        return Row(surface_scores(self.surface, predicted), iou, num_bytes)

    def coded(self, loaded: LoadedModel) -> Row:
        """Encode the true mesh, write the latent, and score what its bytes decode to."""
        options = Options(counts=Counts(near=0, volume=0), seed=self.seed)
        shape = sample(self.examined, options, name="truth")
        latent = encode_shape(loaded.model, shape)
        data = latent_asset(latent, loaded.model, digest=loaded.digest).to_bytes()
        stored = load_latent(data, loaded.model, digest=loaded.digest)
        row = self.of_distance(distance_of(loaded.model, stored.latent.values), slack=SLACK)
        return Row(row.surface, row.iou, len(data))

    def file(self, path: Path, loaded: LoadedModel | None) -> Row:
        """Scores of a mesh file or of a latent."""
        if path.suffix != ".fwa":
            return self.of_mesh(load_mesh(path), path.stat().st_size)
        assert loaded is not None
        stored = load_latent(path, loaded.model, digest=loaded.digest)
        mesh_of = extract_mesh(
            distance_of(loaded.model, stored.latent.values), self.resolution, slack=SLACK
        )
        placed = mesh_of.placed(stored.latent.normalization.to_source(mesh_of.vertices))
        return self.of_mesh(placed, stored.num_bytes)
