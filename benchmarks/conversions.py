"""Splats, meshes and fields into each other: what every way costs, against sources and the truth.

Rows are named "SCENE, SOURCE to TARGET: FIGURE", from which `conversion_pages` makes
docs/conversions.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from captures import load_capture, make_sample_capture
from fields.meshes import (
    Mesh,
    load_mesh,
    sample_surface,
    surface_distance,
    visible_from,
)
from fields.variation.mesh_signals import denoised_shape

from .command import fieldwright, real_data
from .metric import Metric

BOX = (-1.9, -1.9, -0.05, 1.9, 1.9, 2.4)
"""The still life on the table of the sample capture, by which meshes are judged."""
THRESHOLD = 0.04
"""Of the F-score: 4 mm in the sample's units of 10 cm; a pixel covers 17 of these 40."""
NOISE = 0.2
"""Standard deviation of the noise on a real mesh, in mean edge lengths along the normals."""


@dataclass(frozen=True)
class Budget:
    """Lengths of the trainings that conversions start from."""

    splats: int = 2000
    """Steps of splats."""
    field: int = 1000
    """Steps of the tri-vector field."""


QUICK = Budget(splats=150, field=100)


def run(*, quick: bool) -> Iterator[Metric]:
    """The sample capture with its truth, real objects, and denoising."""
    budget = QUICK if quick else Budget()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _sample(folder, budget)
        duck = real_data("meshes/trimesh/Duck.glb")
        if duck is not None:
            yield from _mesh_ways(duck, folder, budget)
        lego = real_data("scenes/lego_400")
        if lego is not None:
            yield from _lego(lego, folder, budget)
        fandisk = real_data("meshes/common/fandisk.obj")
        if fandisk is not None:
            yield from _denoising(load_mesh(fandisk))


# ------------------------------------------------------------------------------ the sample


def _sample(folder: Path, budget: Budget) -> Iterator[Metric]:
    """Splats and a field of the sample capture into meshes, judged by its exact mesh."""
    data = make_sample_capture(folder / "sample")
    runs = {
        "splats": _train("splats", data, folder / "sample-splats", budget.splats),
        "field": _train("trivec", data, folder / "sample-field", budget.field),
    }
    for kind, path in runs.items():
        yield from _mesh_against_truth(kind, path, data, folder)
    yield from _way("sample", "splats", "field", runs["splats"], folder, budget)
    yield from _way("sample", "field", "splats", runs["field"], folder, budget)


def _mesh_against_truth(kind: str, path: Path, data: Path, folder: Path) -> Iterator[Metric]:
    out = folder / f"sample-{kind}-mesh.ply"
    done = fieldwright("convert", path, out, "--crop", *BOX)
    name = f"sample, {kind} to mesh"
    capture = load_capture(data)
    cameras = capture.T_source_capture.apply_to_cameras(capture.cameras)
    truth = load_mesh(data / "mesh.ply")
    points = sample_surface(truth, 400_000).positions
    points = points[visible_from(truth, points, cameras, tolerance=0.01)]
    found = sample_surface(load_mesh(out), 200_000).positions
    distance = surface_distance(_inside(found), _inside(points), threshold=THRESHOLD)
    yield Metric(f"{name}: Chamfer distance", distance.chamfer, "units", "lower", 0.1)
    yield Metric(f"{name}: accuracy", distance.accuracy, "units", "lower", 0.1)
    yield Metric(f"{name}: completeness", distance.completeness, "units", "lower", 0.1)
    limit = 0.8 if kind == "splats" else 0.7
    yield Metric(f"{name}: F-score at 4 mm", distance.f_score, "", "higher", 0.03, limit)
    yield Metric(f"{name}: triangles", done["num_primitives"], "")
    yield Metric(f"{name}: seconds", done["encode_seconds"], "s", "lower", 0.5)


def _inside(points: np.ndarray) -> np.ndarray:
    low, high = np.reshape(BOX, (2, 3))
    return points[((points >= low + 0.02) & (points <= high - 0.02)).all(1)]


# ----------------------------------------------------------------------------------- objects


def _mesh_ways(duck: Path, folder: Path, budget: Budget) -> Iterator[Metric]:
    """A textured mesh into splats and a field, and both back."""
    splats, field = folder / "duck.ply", folder / "duck.field.fwa"
    for there, path in (("splats", splats), ("field", field)):
        yield from _way("duck", "mesh", there, duck, folder, budget, out=path)
        yield from _way("duck", there, "mesh", path, folder, budget)


def _lego(data: Path, folder: Path, budget: Budget) -> Iterator[Metric]:
    """Splats of real renders into a mesh with vertex colors and one with a texture."""
    path = _train("splats", data, folder / "lego-splats", budget.splats)
    yield from _way("lego_400", "splats", "mesh", path, folder, budget)
    flags = ("--texture", 2048)
    yield from _way("lego_400", "splats", "textured mesh", path, folder, budget, flags=flags)


def _way(
    scene: str,
    source: str,
    target: str,
    path: Path,
    folder: Path,
    budget: Budget,
    *,
    out: Path | None = None,
    flags: tuple[object, ...] = (),
) -> Iterator[Metric]:
    """One conversion as a user runs it; the loss is that of the file."""
    endings = {"splats": "splats.ply", "field": "field.fwa"}
    out = out or folder / f"{scene}-{source}-{endings.get(target, 'mesh.glb')}"
    if budget is QUICK:
        flags = (*flags, "--steps", 60, "--cameras", 12)
    done = fieldwright("convert", path, out, "--overwrite", *flags)
    name = f"{scene}, {source} to {target}"
    yield Metric(f"{name}: PSNR of pictures", done["render_psnr"], "dB", "higher", 0.02)
    yield Metric(f"{name}: silhouettes", done["silhouette_iou"], "", "higher", 0.02)
    if done["depth_error"] is not None:
        yield Metric(f"{name}: depth error", 100 * done["depth_error"], "%", "lower", 0.2)
    yield Metric(f"{name}: size", done["num_bytes"] / 1e6, "MB")
    yield Metric(f"{name}: seconds", done["encode_seconds"], "s", "lower", 0.5)


# --------------------------------------------------------------------------------- denoising


def _denoising(true: Mesh) -> Iterator[Metric]:
    """Total variation of normals on a machine part with creases and smooth patches."""
    edges = true.vertices[true.faces[:, 1]] - true.vertices[true.faces[:, 0]]
    # Not seed 0, with which `normal_noise` shakes the mesh.
    random = np.random.default_rng(1).normal(size=(len(true.vertices), 1))
    shift = NOISE * np.linalg.norm(edges, axis=1).mean() * random
    noisy = replace(true, vertices=true.vertices + shift * true.vertex_normals())
    found = denoised_shape(noisy)
    before, after = _normal_error(noisy, true), _normal_error(found, true)
    name = f"fandisk with noise of {NOISE} edges"
    yield Metric(f"{name}: normals before", before, "degrees")
    yield Metric(f"{name}: normals denoised", after, "degrees", "lower", 0.1, 4.0)
    offset = np.linalg.norm(found.vertices - true.vertices, axis=1).mean()
    share = float(offset / np.abs(shift).mean())
    yield Metric(f"{name}: distance of vertices, left of 1", share, "x", "lower", 0.1, 0.6)


def _normal_error(mesh: Mesh, true: Mesh) -> float:
    """Mean angle between the normals of the same faces, degrees."""
    first, second = mesh.area_vectors(), true.area_vectors()
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosine = (first * second).sum(1) / np.maximum(lengths, 1e-300)
    return float(np.degrees(np.arccos(cosine.clip(-1, 1))).mean())


def _train(method: str, data: Path, out: Path, steps: int, *flags: Any) -> Path:
    fieldwright(
        "train", method, "--data", data, "--out", out, "--max-steps", steps, "--no-evaluate", *flags
    )
    return out
