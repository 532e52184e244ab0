"""The sample capture: repeatable bytes, and images, depths, mesh and points that agree."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captures import load_capture
from captures.raycast import Box, Lathe, Solid, Sphere, Torus
from captures.sample import DEPTH_UNIT, make_sample_capture, spiral_cameras
from captures.still_life import still_life, turn_x, turn_z
from captures.tessellation import tessellate

NUM_VIEWS, WIDTH, HEIGHT = 4, 64, 48
DETAIL = 0.2  # coarse textures and shadows, quick to bake


def _make(folder: Path, *, overwrite: bool = False, num_threads: int | None = None) -> Path:
    return make_sample_capture(
        folder,
        num_views=NUM_VIEWS,
        width=WIDTH,
        height=HEIGHT,
        detail=DETAIL,
        overwrite=overwrite,
        num_threads=num_threads,
    )


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make(tmp_path_factory.mktemp("sample") / "capture")


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _depth(folder: Path, index: int) -> np.ndarray:
    with Image.open(folder / "depths" / f"view_{index:03d}.png") as image:
        return np.asarray(image).astype(np.float64) * DEPTH_UNIT


def _read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    header, body = path.read_bytes().split(b"end_header\n", 1)
    lines = header.decode("ascii").splitlines()
    num_vertices, num_faces = (int(line.split()[2]) for line in lines if "element" in line)
    vertex = np.dtype([("position", "<f4", 3), ("color", "u1", 3)])
    face = np.dtype([("count", "u1"), ("indices", "<i4", 3)])
    vertices = np.frombuffer(body, vertex, num_vertices)
    faces = np.frombuffer(body, face, num_faces, offset=vertices.nbytes)
    return vertices["position"].astype(np.float64), faces["indices"]


def test_overwriting_with_one_thread_gives_the_same_bytes_and_nothing_else(
    sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "stale.txt").write_text("from before")
    again = _make(tmp_path / "again", overwrite=True, num_threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]
    assert _digests(again) == _digests(sample)


def test_loads_as_a_colmap_capture_with_the_exact_cameras(sample: Path) -> None:
    capture = load_capture(sample)
    assert len(capture) == NUM_VIEWS
    expected = spiral_cameras(NUM_VIEWS, WIDTH, HEIGHT)
    found = capture.T_source_capture.apply_to_cameras(capture.cameras)
    torch.testing.assert_close(found.positions, expected.positions, atol=1e-5, rtol=0)
    assert capture.view(0).image.std() > 0.1


def test_no_ray_passes_through_the_mesh_without_hitting_a_solid() -> None:
    items = still_life()
    eye = spiral_cameras(NUM_VIEWS, WIDTH, HEIGHT)[1].camtoworlds[0, :3, 3:].numpy()
    eye = eye.astype(np.float32)
    for item in items:
        vertices = tessellate([item], cells=24).vertices.T
        distance = np.linalg.norm(vertices - eye, axis=0)
        rays = (vertices - eye) / distance
        hit = np.min([other.solid.intersect(eye, rays) for other in items], axis=0)
        facing = -(item.solid.normal(vertices) * rays).sum(0) > 0.2  # not at a silhouette
        # Nearly all: a ray along the far wall of the apple's dimple may slip by.
        assert (hit[facing] < distance[facing] + 2e-3).mean() >= 0.99, item.name


def test_mesh_casts_the_same_depths_as_the_renderer(sample: Path) -> None:
    vertices, faces = _read_mesh(sample / "mesh.ply")
    triangles = vertices[faces.T]
    camera = spiral_cameras(NUM_VIEWS, WIDTH, HEIGHT)[1]
    K, camtoworld = camera.Ks[0].numpy(), camera.camtoworlds[0].numpy()
    depth = _depth(sample, 1)
    rng = np.random.default_rng(0)
    differences = []
    for column, row in rng.integers(0, (WIDTH, HEIGHT), (16, 2)):
        ray = camtoworld[:3, :3] @ np.linalg.solve(K, [column + 0.5, row + 0.5, 1.0])
        differences.append(abs(_cast(triangles, camtoworld[:3, 3], ray) - depth[row, column]))
    # Chords of the tessellation cut at most a few thousandths; silhouettes may fall either way.
    assert np.mean(np.array(differences) < 0.01) > 0.93
    assert np.median(differences) < 1e-3  # half a depth step plus chords


def _cast(triangles: np.ndarray, eye: np.ndarray, ray: np.ndarray) -> float:
    """Smallest ray parameter at a triangle; Moller and Trumbore, 1997, equation 6."""
    first, second, third = triangles
    e1, e2, to_eye = second - first, third - first, eye - first
    p, q = np.cross(ray, e2), np.cross(to_eye, e1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / (p * e1).sum(1)
        u, v, t = (p * to_eye).sum(1) * scale, (q @ ray) * scale, (q * e2).sum(1) * scale
    return float(t[(u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)].min())


SOLIDS: tuple[Solid, ...] = (
    Sphere(radius=0.7, center=(0.3, -0.2, 0.1), rotation=turn_x(30.0)),
    Torus(ring=0.6, tube=0.2, rotation=turn_x(50.0)),
    Torus(ring=0.2, tube=0.5, center=(0.1, 0.0, 0.2)),
    Box(half=(0.6, 0.4, 0.3), rounding=0.1, rotation=turn_z(25.0)),
    Lathe.from_outline([(0.0, 0.3), (0.5, 0.6), (1.0, 0.0)]).placed((0.1, 0.2, -0.4), turn_x(15.0)),
)


@pytest.mark.parametrize("solid", SOLIDS, ids=lambda solid: type(solid).__name__)
def test_rays_hit_the_chart_and_the_chart_inverts(solid: Solid) -> None:
    rng = np.random.default_rng(0)
    count = 400
    faces = rng.integers(0, len(solid.face_sizes), count)
    u, v = rng.uniform(0.05, 0.95, (2, count)).astype(np.float32)
    points = solid.chart(faces, u, v)
    again = solid.coordinates(points)
    np.testing.assert_array_equal(again[0], faces)
    np.testing.assert_allclose(solid.chart(*again), points, atol=2e-3)
    normals = solid.normal(points)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1, atol=1e-5)
    # A ray that comes in along the normal meets the surface at the chart's point, or earlier.
    distance = solid.intersect(points + 3 * normals, -normals)
    assert (distance < 3.003).all()
    assert (np.abs(distance - 3) < 3e-3).mean() > 0.75  # the rest is hidden by the solid itself
    assert np.isinf(solid.intersect(points + 3 * normals, normals)).all()


def test_existing_folder_is_kept_without_overwrite(sample: Path) -> None:
    before = _digests(sample)
    with pytest.raises(FileExistsError, match="exists already"):
        _make(sample)
    assert _digests(sample) == before


def test_no_views_is_an_error_that_names_the_argument(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`num_views` must be at least 1, got 0"):
        make_sample_capture(tmp_path / "none", num_views=0)
    with pytest.raises(ValueError, match=r"`detail` must be positive, got 0\.0"):
        make_sample_capture(tmp_path / "none", detail=0.0)
