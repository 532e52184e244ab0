"""Broken meshes: what the report says and which sign they get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fields.shapes.health import examine
from fields.shapes.mesh import MeshError, TriangleMesh, cleaned, find_meshes, load_mesh, write_mesh
from fields.shapes.topology import Topology, oriented, sharp_edges

from .solids import box_mesh, joined, reversed_mesh, sphere_mesh

CENTER = np.zeros((1, 3))


def test_a_closed_mesh_is_a_solid_without_disagreement() -> None:
    found = examine(sphere_mesh(3.0))
    assert found.health.mode == "solid" and found.health.watertight
    assert found.health.sign_disagreement == 0 and found.health.uncertain == 0
    assert found.distance(CENTER)[0] == pytest.approx(-0.95, abs=0.01)


def test_inside_out_is_no_hole() -> None:
    found = examine(reversed_mesh(sphere_mesh()))
    assert found.health.mode == "solid" and found.distance(CENTER)[0] < 0


def test_turned_faces_are_turned_back() -> None:
    mesh = sphere_mesh()
    faces = mesh.faces.copy()
    faces[::3] = faces[::3, ::-1]
    found = examine(TriangleMesh(mesh.vertices, faces))
    assert found.health.turned_faces == len(faces[::3])
    assert found.health.watertight and found.health.sign_disagreement == 0


def test_a_missing_face_is_capped_and_a_missing_half_is_a_shell() -> None:
    mesh = sphere_mesh()
    capped = examine(TriangleMesh(mesh.vertices, mesh.faces[1:])).health
    assert capped.mode == "solid" and not capped.watertight and capped.boundary_edges == 3
    upper = mesh.faces[mesh.vertices[mesh.faces, 2].min(1) >= -1e-9]
    bowl = examine(TriangleMesh(mesh.vertices, upper))
    assert bowl.health.mode == "shell" and bowl.health.uncertain > 0.01
    # A bowl holds nothing: its focus is outside, its wall inside.
    wall = bowl.mesh.corners[len(upper) // 2].mean(0, keepdims=True)
    middle = np.array([[0.0, 0.0, 0.0]])
    assert bowl.distance(middle)[0] > 0 and bowl.distance(wall)[0] < 0


def test_a_shell_fills_what_a_flood_cannot_reach() -> None:
    found = examine(sphere_mesh(), mode="shell")
    points = np.random.default_rng(0).uniform(-1, 1, (20_000, 3))
    radius = np.linalg.norm(points, axis=1)
    true = radius - 0.95 - found.distance.eps
    clear = np.abs(true) > 0.01
    assert ((found.distance(points) < 0) == (true < 0))[clear].all()


def test_shells_keep_every_component() -> None:
    upper = sphere_mesh().faces
    parts = [sphere_mesh(0.2), box_mesh(0.1, (1.5, 0, 0)), box_mesh(0.05, (-1.5, 0.3, 0))]
    found = examine(joined(*parts), mode="shell")
    centers = found.normalization.to_box(np.array([[0, 0, 0], [1.5, 0, 0], [-1.5, 0.3, 0]], float))
    assert (found.distance(centers) < 0).all() and len(upper)


def test_nested_shells_and_cavities() -> None:
    outer, inner = sphere_mesh(1.0), sphere_mesh(0.5)
    assert examine(joined(outer, reversed_mesh(inner))).distance(CENTER)[0] > 0
    nested = examine(joined(outer, inner))
    assert nested.distance(CENTER)[0] < 0
    assert nested.health.overlap > 0.05 and nested.health.sign_disagreement > 0.01


def test_duplicates_and_degenerate_faces_are_counted() -> None:
    mesh = box_mesh()
    faces = np.concatenate([mesh.faces, mesh.faces[:2, ::-1], [[0, 0, 1]]])
    vertices = np.concatenate([mesh.vertices, [[np.nan, 0, 0]]])
    faces = np.concatenate([faces, [[0, 1, 8]]])
    tidy, report = cleaned(TriangleMesh(vertices, faces))
    assert len(tidy.faces) == 12 and report.duplicate_faces == 2
    assert report.degenerate_faces == 1 and report.nonfinite_faces == 1


@pytest.mark.parametrize("scale", [1e-20, 1e12, 1e200])
def test_huge_and_tiny_coordinates(scale: float) -> None:
    mesh = sphere_mesh()
    found = examine(mesh.placed(scale * (mesh.vertices + 3)))
    assert found.health.watertight and found.distance(CENTER)[0] < 0
    back = found.normalization.to_source(found.mesh.vertices)
    assert np.abs(np.sort(back, 0) / scale - np.sort(mesh.vertices + 3, 0)).max() < 1e-6


def test_nothing_left_is_an_error() -> None:
    line = TriangleMesh(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]]))
    for empty in (line, TriangleMesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))):
        with pytest.raises(MeshError, match="no face with an area"):
            examine(empty, name="line.obj")


def test_a_mobius_strip_cannot_be_oriented() -> None:
    n = 12
    angle = np.arange(n) * 2 * np.pi / n
    rim = [
        np.stack([(2 + s * np.cos(angle / 2)) * np.cos(angle),
                  (2 + s * np.cos(angle / 2)) * np.sin(angle), s * np.sin(angle / 2)], 1)
        for s in (-0.5, 0.5)
    ]  # fmt: skip
    faces = []
    for i in range(n):
        a, b = i, i + n
        c, d = ((i + 1) % n, (i + 1) % n + n) if i < n - 1 else (n, 0)
        faces += [(a, b, d), (a, d, c)]
    mesh = TriangleMesh(np.concatenate(rim), np.array(faces))
    assert not oriented(mesh, Topology.of(mesh))[2]
    assert not examine(mesh).health.watertight


def test_sharp_edges_of_a_cube() -> None:
    mesh = box_mesh()
    edges, normals = sharp_edges(mesh, Topology.of(mesh))
    assert len(edges) == 12
    middle = mesh.vertices[edges].mean(1)
    np.testing.assert_allclose(normals, middle / np.linalg.norm(middle, axis=1)[:, None], atol=1e-9)
    smooth = sphere_mesh()
    assert len(sharp_edges(smooth, Topology.of(smooth))[0]) == 0


def test_files(tmp_path: Path) -> None:
    for suffix in ("glb", "obj", "ply", "stl", "off"):
        path = write_mesh(sphere_mesh(), tmp_path / f"a.{suffix}")
        assert examine(load_mesh(path)).health.watertight
    with pytest.raises(FileExistsError, match="overwrite"):
        write_mesh(sphere_mesh(), tmp_path / "a.obj")
    with pytest.raises(ValueError, match="end with"):
        write_mesh(sphere_mesh(), tmp_path / "a.docx")
    assert len(find_meshes(tmp_path)) == 5
    (tmp_path / "points.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
        "property float z\nend_header\n0 0 0\n"
    )
    (tmp_path / "broken.glb").write_bytes(b"glTF rubbish")
    (tmp_path / "empty.obj").write_text("")
    for name in ("points.ply", "broken.glb", "empty.obj"):
        with pytest.raises(MeshError, match=name):
            load_mesh(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load_mesh(tmp_path / "none.obj")


@pytest.mark.slow
def test_every_real_mesh_gets_a_report(shared_data: Path) -> None:
    reports = {}
    for path in find_meshes(shared_data / "meshes"):
        reports[path.name] = examine(load_mesh(path), name=path.name).health
    assert len(reports) == 38
    for name in ("spot.obj", "fandisk.obj", "Duck.glb", "rocker-arm.obj", "igea.ply"):
        assert reports[name].watertight and reports[name].sign_disagreement < 1e-3, name
    for name in ("alligator.obj", "woody.obj", "beetle.obj"):
        assert reports[name].mode == "shell", name
    assert reports["multibody.stl"].num_components == 2


def test_triangle_strips_of_a_scan(shared_data: Path) -> None:
    mesh = load_mesh(shared_data / "meshes" / "common" / "igea.ply")
    assert len(mesh.vertices) == 134_345 and len(mesh.faces) == 268_686
    topology = Topology.of(mesh)
    assert topology.closed and topology.euler == 2 and topology.opposed.all()
