"""What is wrong with a mesh, and which sign its distances deserve."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from .bvh import MeshIndex
from .flood import flood
from .mesh import Cleaning, MeshError, TriangleMesh, cleaned
from .normalization import Normalization
from .signed_distance import Mode, SignedDistance, parity_inside
from .topology import Topology, oriented

MAX_UNCERTAIN = 0.01
"""A mesh with holes is still taken as a solid if fewer points than this share have a winding
number more than a quarter from an integer."""
_SAMPLES = 20_000
_NEAR_SIGMA = 0.02
_UNCERTAIN_GAP = 0.25


@dataclass(frozen=True)
class Health:
    """What `examine` found."""

    num_vertices: int
    """After merging equal ones."""
    num_faces: int
    """After dropping degenerate and duplicate ones."""
    num_components: int
    """Parts that share no edge."""
    boundary_edges: int
    """Edges with one face."""
    nonmanifold_edges: int
    """Edges with more than two faces."""
    watertight: bool
    """Every edge has an even number of faces, and neighbors are wound alike."""
    cleaning: Cleaning
    """What was dropped."""
    turned_faces: int
    """Faces that were turned to agree with their neighbors."""
    sign_disagreement: float
    """Share of sampled points (half in the box, half near the surface) where the winding number
    and the parity of rays differ about inside."""
    uncertain: float
    """Share of them whose winding number lies more than a quarter from an integer: openings."""
    overlap: float
    """Share of the inner ones that the surface wraps more than once: parts in parts."""
    mode: Mode
    """Which sign is used."""
    reason: str
    """Why."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Examined:
    """A mesh ready to be sampled."""

    mesh: TriangleMesh
    """Cleaned, oriented and normalized to the box."""
    topology: Topology
    """Of that mesh."""
    normalization: Normalization
    """From the source into the box."""
    distance: SignedDistance
    """Its signed distance."""
    health: Health
    """The report."""


def examine(
    mesh: TriangleMesh,
    *,
    mode: Mode | Literal["auto"] = "auto",
    name: str = "mesh",
    seed: int = 0,
) -> Examined:
    """Clean, normalize and judge a mesh.

    Args:
        mesh: As it was read.
        mode: "auto" takes a solid where the sign can be trusted: closed meshes, and open ones whose
            winding numbers are all but integers. "shell" never uses a sign.
        name: What errors call the mesh.
        seed: Of the sampled points.

    Raises:
        MeshError: Nothing is left after cleaning, or the extent is zero or not finite.
    """
    tidy, cleaning = cleaned(mesh)
    if len(tidy.faces) == 0:
        raise MeshError(
            f"{name} has no face with an area ({len(mesh.faces)} faces in the file, {cleaning}); "
            "export it again from its source."
        )
    try:
        normalization = Normalization.of(tidy.vertices)
    except ValueError as error:
        raise MeshError(f"{name}: {error}") from error
    boxed = tidy.placed(normalization.to_box(tidy.vertices))
    topology = Topology.of(boxed)
    boxed, turned, agree = oriented(boxed, topology)
    topology = Topology.of(boxed) if turned else topology
    index = MeshIndex(boxed)
    points = _probes(boxed, seed)
    winding = index.winding(points)
    inside = np.abs(winding) > 0.5
    uncertain = float((np.abs(winding - np.round(winding)) > _UNCERTAIN_GAP).mean())
    watertight = topology.closed and agree
    chosen, reason = _choose(mode, watertight, uncertain)
    health = Health(
        num_vertices=len(boxed.vertices),
        num_faces=len(boxed.faces),
        num_components=int(topology.components.max()) + 1,
        boundary_edges=topology.boundary_edges,
        nonmanifold_edges=topology.nonmanifold_edges,
        watertight=watertight,
        cleaning=cleaning,
        turned_faces=turned,
        sign_disagreement=float((inside != parity_inside(index, points)).mean()),
        uncertain=uncertain,
        overlap=float((np.abs(winding[inside]) > 1.5).mean()) if inside.any() else 0.0,
        mode=chosen,
        reason=reason,
    )
    return Examined(boxed, topology, normalization, _distance(index, chosen), health)


def _choose(mode: str, watertight: bool, uncertain: float) -> tuple[Mode, str]:
    if mode == "solid":
        return "solid", "asked for"
    if mode == "shell":
        return "shell", "asked for"
    if watertight and uncertain <= MAX_UNCERTAIN:
        return "solid", "closed and oriented"
    if uncertain <= MAX_UNCERTAIN:
        return "solid", f"open, but only {uncertain:.2%} of the points see the openings"
    return "shell", f"open: {uncertain:.1%} of the points have no clear winding number"


def _distance(index: MeshIndex, mode: Mode) -> SignedDistance:
    if mode == "solid":
        return SignedDistance(index, "solid")
    found = flood(index)
    return SignedDistance(index, "shell", eps=found.cell, flood=found)


def _probes(mesh: TriangleMesh, seed: int) -> Float[np.ndarray, "n 3"]:
    """Half uniform in the box, half near the surface."""
    rng = np.random.default_rng(seed)
    volume = rng.uniform(-1, 1, (_SAMPLES // 2, 3))
    areas = mesh.areas
    faces = rng.choice(len(areas), _SAMPLES // 2, p=areas / areas.sum())
    u, v = rng.random((2, len(faces), 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = mesh.corners[faces].transpose(1, 0, 2)
    near = a + u * (b - a) + v * (c - a) + _NEAR_SIGMA * rng.standard_normal((len(faces), 3))
    return np.concatenate([volume, near])
