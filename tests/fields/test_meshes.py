"""Meshes: files, z-buffer, surfaces of lattices, fusion of depth maps, textures, distances."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from captures import Cameras
from captures.paths import look_at
from fields import kernels
from fields.conversion.viewpoints import cameras_on_sphere
from fields.meshes import (
    Mesh,
    MeshOptions,
    MeshScene,
    decimated,
    load_mesh,
    mesh_of_scene,
    sample_surface,
    save_mesh,
    surface_distance,
    visible_from,
    without_small_pieces,
)
from fields.meshes.bricks import Bricks, sorted_bricks
from fields.meshes.depth_views import DepthView, depth_views, splat_depths
from fields.meshes.files import split_at_seams, vertex_colors
from fields.meshes.fusion import Distances, fuse, integrate, surface_bricks
from fields.meshes.marching import extract_surface
from fields.meshes.rasterizer import rasterize_triangles
from fields.meshes.scene import is_mesh_file
from fields.meshes.texturing import textured
from splats import Gaussians
from splats.scene import SplatScene

needs_kernels = pytest.mark.skipif(kernels.native_kernels() is None, reason="no native kernels")


def camera(position: tuple[float, float, float], size: int = 64, focal: float = 80.0) -> Cameras:
    """A camera that looks at the origin."""
    place = torch.tensor([position], dtype=torch.float64)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    viewmat = look_at(place, torch.zeros(3, dtype=torch.float64), up)
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras(viewmat, K[None], size, size)


def lattice(values_of, *, half: int = 3, spacing: float = 1 / 16) -> Bricks:
    """Bricks around the origin with values of a function of the positions [..., 3]."""
    axes = np.meshgrid(*[np.arange(-half, half)] * 3, indexing="ij")
    coordinates = sorted_bricks(np.stack(axes, -1).reshape(-1, 3))
    shape = (len(coordinates), 8, 8, 8)
    empty = Bricks(np.array([0.01, 0.02, 0.03]), spacing, coordinates, np.zeros(shape, np.float32))
    return replace(empty, values=values_of(empty.positions()).astype(np.float32))


def ball(radius: float = 1.0) -> Mesh:
    """A fine sphere with smooth colors."""
    mesh = extract_surface(lattice(lambda p: np.linalg.norm(p, axis=-1) - radius))
    colors = (0.5 + 0.5 * mesh.vertices / radius).clip(0, 1).astype(np.float32)
    return replace(mesh, colors=colors)


def is_closed(mesh: Mesh) -> bool:
    """Whether every edge is walked as often in one direction as in the other."""
    ahead = np.stack([mesh.faces, np.roll(mesh.faces, -1, axis=1)], 2).reshape(-1, 2)
    count = len(mesh.vertices)
    keys, back = ahead[:, 0] * count + ahead[:, 1], ahead[:, 1] * count + ahead[:, 0]
    return np.array_equal(np.sort(keys), np.sort(back))


# -------------------------------------------------------------------------------------- files


def test_triangle_strips_become_a_closed_head(shared_data: Path) -> None:
    """igea.ply has strips instead of faces, which trimesh reads as a cloud of points."""
    mesh = load_mesh(shared_data / "meshes/common/igea.ply")
    assert mesh.vertices.shape == (134345, 3)
    assert is_closed(mesh)
    assert len(mesh.faces) == 2 * (len(mesh.vertices) - 2) + 2 * 2 - 4  # genus 0: Euler
    volume = np.einsum("fi,fi->", mesh.corners()[:, 0], mesh.area_vectors()) / 3
    assert volume > 0


@pytest.mark.parametrize("name", ["common/spot.obj", "trimesh/Duck.glb", "trimesh/ballA.off"])
def test_real_files_load_in_their_own_units(shared_data: Path, name: str) -> None:
    import trimesh

    expected = trimesh.load(shared_data / "meshes" / name, process=False)
    mesh = load_mesh(shared_data / "meshes" / name)
    low, high = MeshScene(mesh).bounds().numpy()
    np.testing.assert_allclose([low, high], expected.bounds, rtol=1e-6)


@pytest.mark.parametrize("ending", [".ply", ".obj", ".glb"])
def test_colors_and_far_coordinates_survive_a_file(tmp_path: Path, ending: str) -> None:
    mesh = ball()
    far = replace(mesh, vertices=mesh.vertices + np.array([1000.0, -2000.0, 50.0]))
    path = tmp_path / f"out{ending}"
    assert save_mesh(far, path) == path.stat().st_size
    found = load_mesh(path)
    np.testing.assert_array_equal(found.faces, far.faces)
    digits = 1e-4 if ending == ".glb" else 1e-5  # glTF has float32 only
    np.testing.assert_allclose(found.vertices, far.vertices, atol=digits)
    assert found.colors is not None and mesh.colors is not None
    np.testing.assert_allclose(found.colors, mesh.colors, atol=0.51 / 255)
    with pytest.raises(FileExistsError, match="--overwrite"):
        save_mesh(far, path)


@pytest.mark.parametrize("ending", [".obj", ".glb"])
def test_a_baked_texture_shows_the_function_it_was_baked_from(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("xatlas")
    mesh = decimated(ball(), 600)

    def coloring(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        assert np.einsum("nd,nd->n", points, normals).min() > 0  # outward
        return (0.5 + 0.4 * np.sin(5 * points)).astype(np.float32)

    save_mesh(textured(mesh, 512, coloring), tmp_path / f"ball{ending}")
    found = load_mesh(tmp_path / f"ball{ending}")
    points = sample_surface(found, 5000)
    colors = found.face_colors_at(points.faces, points.weights)
    difference = np.abs(colors - coloring(points.positions, points.positions))
    assert difference.mean() < 2 / 255 and np.quantile(difference, 0.99) < 8 / 255
    vertices, faces, uv = split_at_seams(found)
    np.testing.assert_array_equal(vertices[faces], found.vertices[found.faces])
    assert len(uv) == len(vertices)
    plain = vertex_colors(found)
    assert plain is not None
    assert np.abs(plain - coloring(found.vertices, found.vertices)).mean() < 4 / 255


def strip_file(indices: list[int], *, count: int | None = None) -> bytes:
    header = (
        "ply\nformat binary_little_endian 1.0\nelement vertex 4\nproperty float x\n"
        "property float y\nproperty float z\nelement tristrips 1\n"
        "property list int int vertex_indices\nend_header\n"
    )
    points = struct.pack("<12f", 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0)
    return (
        header.encode()
        + points
        + struct.pack(f"<i{len(indices)}i", count or len(indices), *indices)
    )


def test_every_second_triangle_of_a_strip_is_turned(tmp_path: Path) -> None:
    path = tmp_path / "strip.ply"
    path.write_bytes(strip_file([0, 1, 2, 3, -1, 3, 2, 1]))
    assert load_mesh(path).faces.tolist() == [[0, 1, 2], [2, 1, 3], [3, 2, 1]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.ply", strip_file([0, 1, 2], count=900), "cut off"),
        ("range.ply", strip_file([0, 1, 9]), "`faces` must index the 4 vertices"),
        ("cloud.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\n"
         b"property float y\nproperty float z\nend_header\n0 0 0\n", "no triangles"),
        ("empty.obj", b"", "cannot be read as a mesh"),
        ("broken.glb", b"glTF\x02\x00\x00\x00", "cannot be read as a mesh"),
        ("nan.obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "must be finite"),
        ("text.stl", b"solid nothing\nendsolid\n", "cannot be read as a mesh"),
    ],
)  # fmt: skip
def test_files_without_a_mesh_say_so(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_mesh(tmp_path / name)


def test_what_is_a_mesh_is_told_from_the_first_bytes(tmp_path: Path) -> None:
    save_mesh(ball(), tmp_path / "a.ply")
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 1 1\n")
    (tmp_path / "scene.glb").write_bytes(b'glTF....{"extensionsUsed":["KHR_gaussian_splatting"]}')
    assert is_mesh_file(tmp_path / "a.ply")
    assert not is_mesh_file(tmp_path / "points.obj")
    assert not is_mesh_file(tmp_path / "scene.glb")
    with pytest.raises(ValueError, match="must end with one of"):
        save_mesh(ball(), tmp_path / "a.fbx")


# ----------------------------------------------------------------------------------- pictures


@needs_kernels
def test_the_z_buffer_and_its_twin_agree_in_every_bit() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(-20, 120, (300, 1, 2)) + random.normal(0, 25, (300, 3, 2))
    corners[:20] = np.round(corners[:20])  # borders through pixel centers, and ties
    corners[5:10] = corners[0:5]
    nearness = random.uniform(0.1, 1, (300, 3))
    nearness[5:10] = nearness[0:5]
    first = rasterize_triangles(corners, nearness, width=97, height=61)
    second = rasterize_triangles(corners, nearness, width=97, height=61, native=False)
    np.testing.assert_array_equal(first.faces, second.faces)
    np.testing.assert_array_equal(first.weights, second.weights)
    np.testing.assert_array_equal(first.inverse_depths, second.inverse_depths)


def test_a_picture_shows_depths_and_colors_where_rays_meet_the_ball() -> None:
    mesh, view = ball(), camera((3.0, 0.5, 0.2))
    seen = MeshScene(mesh, samples=1).render(view)
    ys, xs = np.mgrid[:64, :64] + 0.5
    rays = np.stack([(xs - 32) / 80, (ys - 32) / 80, np.ones_like(xs)], -1)
    rays = rays @ view.camtoworlds[0, :3, :3].numpy().T
    origin, unit = view.positions[0].numpy(), rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    half = unit @ origin
    discriminant = half**2 - origin @ origin + 1
    hits = discriminant > 0.02
    depth = (-half - np.sqrt(np.maximum(discriminant, 0))) / np.linalg.norm(rays, axis=-1)
    assert seen.depth is not None and seen.rgb is not None and seen.alpha is not None
    assert bool(seen.alpha[0, ..., 0].numpy()[hits].all())
    assert seen.alpha[0, ..., 0].numpy()[discriminant < -0.02].max() == 0
    np.testing.assert_allclose(seen.depth[0, ..., 0].numpy()[hits], depth[hits], atol=4e-3)
    points = origin + depth[..., None] * rays
    np.testing.assert_allclose(
        seen.rgb[0].numpy()[hits], (0.5 + 0.5 * points)[hits].clip(0, 1), atol=6e-3
    )


def test_a_wall_that_passes_the_camera_is_cut_and_not_dropped() -> None:
    """A large square from far ahead to far behind, below the camera."""
    corners = np.array([[-50, -50, -1], [50, -50, -1], [50, 50, -1], [-50, 50, -1.0]])
    floor = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))
    place = torch.tensor([[0.0, 0.0, 0.0]], dtype=torch.float64)
    ahead = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    view = replace(camera((1.0, 0.0, 0.0)), viewmats=look_at(place, ahead, up))
    seen = MeshScene(floor, samples=1).render(view, channels=("alpha", "depth"))
    assert seen.alpha is not None and seen.depth is not None
    rows = np.arange(34, 64)
    assert bool(seen.alpha[0, 34:, :, 0].all()) and not bool(seen.alpha[0, :32].any())
    expected = 80 / (rows + 0.5 - 32)
    np.testing.assert_allclose(seen.depth[0, 34:, 32, 0], expected, rtol=1e-5)


# ----------------------------------------------------------------------------------- surfaces


def test_a_sphere_is_closed_round_and_of_the_right_size() -> None:
    mesh = ball()
    assert is_closed(mesh)
    edges = len(mesh.faces) * 3 // 2
    assert len(mesh.vertices) - edges + len(mesh.faces) == 2
    volume = np.einsum("fi,fi->", mesh.corners()[:, 0], mesh.area_vectors()) / 3
    assert volume == pytest.approx(4 / 3 * np.pi, rel=5e-3)
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(
        np.ones(len(mesh.vertices)), abs=2e-3
    )


def test_any_values_give_a_surface_without_holes() -> None:
    """Noise visits every case of a cell, the ambiguous ones included."""

    def noise(positions: np.ndarray) -> np.ndarray:
        values = np.random.default_rng(0).normal(size=positions.shape[:-1])
        return np.where(np.abs(positions).max(-1) > 1.3, 1.0, values)

    assert is_closed(extract_surface(lattice(noise)))


def test_unknown_points_leave_the_surface_open() -> None:
    def half(positions: np.ndarray) -> np.ndarray:
        values = np.linalg.norm(positions, axis=-1) - 1
        return np.where(positions[..., 0] < 0, np.nan, values)

    mesh = extract_surface(lattice(half))
    assert mesh.vertices[:, 0].min() >= 0 and not is_closed(mesh)


@needs_kernels
def test_fusion_and_its_twin_agree_in_every_bit() -> None:
    views = list(
        depth_views(
            MeshScene(ball()),
            cameras_on_sphere(torch.tensor([[-1.0] * 3, [1.0] * 3]), 4, width=72, height=60),
        )
    )
    views[1] = replace(views[1], depths=np.where(views[1].depths > 2.4, np.inf, views[1].depths))
    coordinates = sorted_bricks(np.concatenate([surface_bricks(v, 0.06, None) for v in views]))
    both = [Distances.around(coordinates, 0.06) for _ in range(2)]
    for view in views:
        integrate(both[0], view)
        integrate(both[1], view, native=False)
    np.testing.assert_array_equal(both[0].weights, both[1].weights)
    np.testing.assert_array_equal(both[0].sums, both[1].sums)


def test_views_of_a_real_mesh_give_it_back(shared_data: Path) -> None:
    mesh = load_mesh(shared_data / "meshes/common/spot.obj")
    scene = MeshScene(mesh)
    cameras = cameras_on_sphere(scene.bounds(), 24, width=200, height=200)
    found = mesh_of_scene(scene, cameras)
    size = float(np.ptp(mesh.vertices, axis=0).max())
    distance = surface_distance(
        sample_surface(found, 20000).positions,
        sample_surface(mesh, 20000).positions,
        threshold=0.01 * size,
    )
    # Measured: F-score 0.999, Chamfer 0.0031 of the size, of which sampling alone is 0.0026.
    assert distance.f_score > 0.99 and distance.chamfer < 0.004 * size
    assert visible_from(found, found.vertices[:500], cameras, tolerance=0.01 * size).mean() > 0.95


def test_the_depth_of_flat_gaussians_is_that_of_their_plane() -> None:
    """Large tilted Gaussians: by their centers' depths the plane would be a staircase."""
    line = torch.linspace(-1.5, 1.5, 13)
    x, y = (grid.flatten() for grid in torch.meshgrid(line, line, indexing="ij"))
    slope = 0.5
    means = torch.stack([x, y, slope * x], dim=1)
    angle = -torch.atan(torch.tensor(slope)) / 2  # about y, so that x turns into (1, 0, slope)
    count = len(means)
    gaussians = Gaussians(
        means=means,
        quats=torch.tensor([float(angle.cos()), 0, float(angle.sin()), 0]).repeat(count, 1),
        log_scales=torch.tensor([0.2, 0.2, 0.002]).log().repeat(count, 1),
        logit_opacities=torch.full((count,), 3.0),
        sh0=torch.zeros(count, 1, 3),
        shN=torch.zeros(count, 0, 3),
    )
    view = camera((0.0, 0.4, 3.0))
    depth, _ = splat_depths(SplatScene(gaussians), view)
    inverse = torch.linalg.inv(view.Ks[0])
    pixel = torch.tensor([40.5, 28.5, 1.0], dtype=torch.float64)
    ray = view.camtoworlds[0, :3, :3] @ (inverse @ pixel)
    origin, normal = view.positions[0], torch.tensor([-slope, 0.0, 1.0], dtype=torch.float64)
    expected = -(origin @ normal) / (ray @ normal)
    assert float(depth[28, 40]) == pytest.approx(float(expected), rel=2e-3)


def test_crumbs_go_and_decimation_keeps_shape_and_colors() -> None:
    mesh = ball()
    crumb = Mesh(0.02 * mesh.vertices + 1.4, mesh.faces)
    both = Mesh(
        np.concatenate([mesh.vertices, crumb.vertices]),
        np.concatenate([mesh.faces, crumb.faces + len(mesh.vertices)]),
    )
    assert len(without_small_pieces(both, share=0.01).faces) == len(mesh.faces)
    few = decimated(mesh, 400)
    assert 0 < len(few.faces) <= 440
    assert np.abs(np.linalg.norm(few.vertices, axis=1) - 1).max() < 0.02
    assert few.colors is not None
    assert np.abs(few.colors - (0.5 + 0.5 * few.vertices)).max() < 0.06


def test_empty_views_and_bad_options_are_refused() -> None:
    view = DepthView(
        camera((2.0, 0, 0)),
        np.full((64, 64), np.inf, np.float32),
        np.ones((64, 64), np.float32),
        np.zeros((64, 64, 3), np.float32),
    )
    with pytest.raises(ValueError, match="no view shows a surface"):
        fuse([view], spacing=0.1)
    with pytest.raises(ValueError, match="`cell` must be positive"):
        MeshOptions(cell=0.0)
    with pytest.raises(ValueError, match="no area"):
        sample_surface(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])), 10)
    with pytest.raises(ValueError, match="too fine"):
        sorted_bricks(np.array([[1 << 22, 0, 0]]))
