"""Samples: what they promise, the file, resuming, and procedural solids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fields.shapes.health import examine
from fields.shapes.mesh import load_mesh, write_mesh
from fields.shapes.normalization import MARGIN
from fields.shapes.prepare import Options, prepare, prepare_mesh, unique_names
from fields.shapes.procedural import KINDS, procedural_samples, procedural_shape, tessellated
from fields.shapes.procedural.tessellation import gradients
from fields.shapes.samples import ShapeSamples
from fields.shapes.sampling import SIGMAS, Counts, surface_points
from fields.shapes.topology import Topology

from .solids import box_distance, box_mesh, sphere_mesh

FEW = Counts(surface=2000, sharp=500, near=1000, volume=2000)


def test_samples_of_a_cube_are_exact(tmp_path: Path) -> None:
    samples, _ = prepare_mesh(box_mesh(7.0, (100, 0, 0)), options=Options(counts=FEW))
    for points, sdf in ((samples.volume, samples.volume_sdf), (samples.near, samples.near_sdf)):
        np.testing.assert_allclose(sdf, box_distance(points, MARGIN), atol=2e-6)
    assert np.abs(box_distance(samples.surface, MARGIN)).max() < 1e-9
    sorted_sharp = np.sort(np.abs(samples.sharp), axis=1)
    np.testing.assert_allclose(sorted_sharp[:, 1:], MARGIN, atol=1e-9)
    for i, sigma in enumerate(SIGMAS):
        spread = (samples.near[samples.near_sigma == i] - samples.surface[:1]).shape
        distances = np.abs(samples.near_sdf[samples.near_sigma == i])
        assert spread[0] == 1000 and 0.3 * sigma < distances.mean() < sigma
    loaded = ShapeSamples.load(samples.save(tmp_path / "cube.npz"))
    np.testing.assert_array_equal(loaded.volume_sdf, samples.volume_sdf)
    assert loaded.normalization == samples.normalization and loaded.facts == samples.facts
    source = loaded.normalization.to_source(loaded.surface.astype(np.float64))
    np.testing.assert_allclose(np.abs(source - [100, 0, 0]).max(1), 7, atol=1e-5)


def test_surface_points_are_uniform_by_area() -> None:
    points, normals, _ = surface_points(sphere_mesh(), 20_000, seed=0)
    assert np.abs(points.mean(0)).max() < 0.01
    np.testing.assert_allclose((points**2).mean(0), (points**2).mean(), atol=0.01)
    assert (normals * points).sum(1).min() > 0.9


def test_damaged_samples_are_refused(tmp_path: Path) -> None:
    samples, _ = prepare_mesh(box_mesh(), options=Options(counts=FEW))
    path = samples.save(tmp_path / "a.npz")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="holds no shape samples"):
        ShapeSamples.load(path)
    np.savez(path, surface=np.zeros(3))
    with pytest.raises(ValueError, match="holds no shape samples"):
        ShapeSamples.load(path)


def test_an_interrupted_folder_goes_on(tmp_path: Path) -> None:
    sources = [write_mesh(sphere_mesh(), tmp_path / "in" / "a.obj")]
    sources.append(write_mesh(box_mesh(), tmp_path / "in" / "b.ply"))
    (tmp_path / "in" / "c.obj").write_text("v 0 0 0\n")
    sources.append(tmp_path / "in" / "c.obj")
    out, options = tmp_path / "out", Options(counts=FEW)
    jobs = prepare(sources, out, options=options, processes=1)
    assert next(jobs).error is None
    jobs.close()
    results = list(prepare(sources, out, options=options, processes=1))
    assert [made.skipped for made in results] == [True, False, False]
    assert results[2].error is not None and "no triangles" in results[2].error
    assert sorted(path.name for path in out.glob("*.npz")) == ["a.npz", "b.npz"]


def test_equal_names_are_told_apart() -> None:
    paths = [Path("x/a.obj"), Path("y/a.obj"), Path("y/b.obj")]
    assert len(set(unique_names(paths))) == 3
    assert unique_names([Path("a.obj"), Path("a.ply")]) == ["a.obj", "a.ply"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_procedural_solids_close_and_keep_their_sign(kind: str) -> None:
    seed = 40 + list(KINDS).index(kind)
    _, f = procedural_shape(seed, kind)
    mesh = tessellated(f, resolution=28)
    assert Topology.of(mesh).closed
    normals = mesh.area_vectors / np.maximum(mesh.areas[:, None], 1e-12)
    gradient, value = gradients(f, mesh.corners.mean(1))
    large = (mesh.areas > np.median(mesh.areas) / 10) & (np.abs(value) < 0.005)
    assert ((gradient * normals).sum(1)[large] > 0).mean() > 0.99  # outward
    samples = procedural_samples(seed, kind=kind, counts=FEW, resolution=28)
    source = samples.normalization.to_source(samples.volume)
    assert ((f(source) < 0) == (samples.volume_sdf < 0))[np.abs(samples.volume_sdf) > 1e-6].all()
    again = procedural_samples(seed, kind=kind, counts=FEW, resolution=28)
    np.testing.assert_array_equal(samples.near_sdf, again.near_sdf)


def test_a_hundred_thousand_faces_take_seconds(shared_data: Path) -> None:
    import time

    mesh = load_mesh(shared_data / "meshes" / "common" / "beast.obj")
    start = time.process_time()
    found = examine(mesh)
    assert found.health.mode == "solid"
    assert time.process_time() - start < 20
