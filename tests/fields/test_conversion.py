"""Every representation into every other, through the command, with its measured loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from captures import Cameras, Similarity
from fields.conversion import Across, kind_of_file, kind_of_target
from fields.conversion.convert import convert_across
from fields.conversion.surface_splats import splats_on_mesh, thinned
from fields.conversion.viewpoints import cameras_on_sphere
from fields.meshes import (
    MeshOptions,
    MeshScene,
    load_mesh,
    mesh_of_scene,
    sample_surface,
    save_mesh,
    surface_distance,
)
from fields.rendering import SampledField
from fields.samplers import UniformSampler
from fields.scene import FieldScene
from scripts.main import main
from splats.scene import SplatScene


def summary(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def duck(shared_data: Path) -> Path:
    """A textured mesh in its own units (about 150 long)."""
    return shared_data / "meshes/trimesh/Duck.glb"


@pytest.mark.slow
def test_a_mesh_becomes_splats_and_a_mesh_again(
    duck: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The round trip keeps units, frame, colors and most of the shape."""
    small = ["--cameras", 16, "--count", 8000, "--size", 320]
    there = summary(capsys, "convert", duck, tmp_path / "duck.ply", "--steps", 0, *small)
    assert (there["source_kind"], there["kind"]) == ("mesh", "splats")
    assert there["num_primitives"] == 8000
    assert there["render_psnr"] > 24 and there["silhouette_iou"] > 0.95
    back = summary(capsys, "convert", tmp_path / "duck.ply", tmp_path / "mesh.glb", *small)
    assert (back["source_kind"], back["kind"]) == ("splats", "mesh")
    first, second = load_mesh(duck), load_mesh(tmp_path / "mesh.glb")
    size = float(np.ptp(first.vertices, axis=0).max())
    # The automatic cameras of splats look from above; what they never see stays open.
    points = sample_surface(second, 8000).positions
    distance = surface_distance(
        points, sample_surface(first, 20000).positions, threshold=0.02 * size
    )
    assert distance.precision > 0.9, distance
    assert kind_of_file(tmp_path / "mesh.glb") == "mesh"
    assert kind_of_file(tmp_path / "duck.ply") == "splats"


def test_learning_from_renders_beats_the_bare_surface(duck: Path, tmp_path: Path) -> None:
    scores = []
    for steps in (0, 60):
        options = Across(cameras=8, size=96, count=2000, steps=steps)
        done = convert_across(duck, tmp_path / f"{steps}.ply", "splats", options=options)
        scores.append(done.loss.psnr)
    # Measured: 22.6 and 27.4 dB.
    assert scores[1] > scores[0] + 1.5, scores


@pytest.mark.slow
def test_a_mesh_becomes_a_field_and_splats_again(
    duck: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    field = tmp_path / "duck.field.fwa"
    there = summary(capsys, "convert", duck, field, "--steps", 300, "--cameras", 24, "--size", 128)
    assert there["kind"] == "field" and there["render_psnr"] > 24
    assert kind_of_file(field) == "field"
    again = summary(
        capsys, "convert", field, tmp_path / "a.spz", "--steps", 100, "--count", 5000, "--size", 128
    )
    assert (again["source_kind"], again["kind"]) == ("field", "splats")
    assert again["render_psnr"] > 20
    dense = ("--surface", "density", "--cameras", 24, "--size", 128)
    level = summary(capsys, "convert", field, tmp_path / "b.obj", *dense)
    assert level["silhouette_iou"] > 0.85
    mesh = summary(capsys, "convert", field, tmp_path / "a.obj", "--cameras", 24, "--size", 128)
    assert mesh["silhouette_iou"] > 0.9


def test_names_say_what_a_file_shall_hold() -> None:
    for name, kind in {
        "mesh.glb": "mesh", "scene.mesh.ply": "mesh", "a.obj": "mesh", "scene.ply": "splats",
        "scene.glb": "splats", "a.spz": "splats", "field.fwa": "field", "scene.fwa": "splats",
    }.items():  # fmt: skip
        assert kind_of_target(Path(name), None) == kind, name
    assert kind_of_target(Path("scene.ply"), "mesh") == "mesh"
    assert kind_of_target(Path("a.obj"), "splats") == "splats"


def test_gaussians_on_a_mesh_look_like_it(duck: Path) -> None:
    mesh = load_mesh(duck)
    gaussians = splats_on_mesh(mesh, 20000)
    cameras = cameras_on_sphere(MeshScene(mesh).bounds(), 3, width=96, height=96)
    first = MeshScene(mesh).render(cameras)
    second = SplatScene(gaussians).render(cameras)
    assert first.rgb is not None and second.rgb is not None
    assert float((first.rgb - second.rgb).abs().mean()) < 0.02
    normals = mesh.area_vectors()
    assert float(gaussians.log_scales.exp()[:, 2].max()) < 0.02 * np.sqrt(np.abs(normals).sum())


def test_thinning_keeps_points_apart() -> None:
    points = np.random.default_rng(0).uniform(size=(20000, 3)) * [1, 1, 0.01]
    kept = thinned(points, 1000)
    assert 900 < len(kept) < 1100
    occupied = {tuple(cell) for cell in np.floor(points[kept] * 16).astype(int)[:, :2]}
    assert len(occupied) == 256


def test_denoising_from_the_command(duck: Path, tmp_path: Path, capsys: Any) -> None:
    mesh = load_mesh(duck)
    noisy = tmp_path / "noisy.ply"
    shake = np.random.default_rng(0).normal(size=mesh.vertices.shape) * 0.3
    from dataclasses import replace

    save_mesh(replace(mesh, vertices=mesh.vertices + shake), noisy)
    out = tmp_path / "clean.obj"
    done = summary(capsys, "convert", noisy, out, "--denoise", "both", "--cameras", 2, "--size", 32)
    assert (done["source_kind"], done["kind"]) == ("mesh", "mesh")
    clean = load_mesh(out)
    assert np.abs(clean.vertices - load_mesh(noisy).vertices).max() > 0


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("text.obj", ["a.ply", "--to", "mesh"], "no points"),
        ("duck", ["mesh.fbx", "--to", "mesh"], "written as"),
        ("duck", ["field.ply", "--to", "field"], "written as .fwa"),
        ("duck", ["a.obj", "--cell", "-1"], "`cell` must be positive"),
        ("duck", ["a.obj", "--faces", "2"], "`faces` at least 4"),
        ("duck", ["a.obj", "--units", "m:cm"], "applies to splats only"),
        ("duck", ["a.spz", "--cameras", "1"], "`cameras` must be at least 2"),
        ("none.obj", ["a.ply"], "does not exist"),
    ],
)
def test_mistakes_are_one_clear_line(
    duck: Path, tmp_path: Path, capsys: Any, source: str, arguments: list[str], message: str
) -> None:
    (tmp_path / "text.obj").write_text("hello\n")
    path = duck if source == "duck" else tmp_path / source
    capsys.readouterr()
    name, *flags = arguments
    assert main(["convert", str(path), str(tmp_path / name), *flags]) == 1
    text = " ".join(capsys.readouterr().err.split())
    assert message in text and "Traceback" not in text
    assert not (tmp_path / name).exists()


def test_outputs_are_kept_unless_told(duck: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "a.obj"
    summary(capsys, "convert", duck, out, "--cameras", 2, "--size", 32)
    assert main(["convert", str(duck), str(out)]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_cameras_on_a_sphere_see_the_whole_box() -> None:
    bounds = torch.tensor([[-1.0, -2.0, 0.5], [3.0, 1.0, 2.0]])
    cameras: Cameras = cameras_on_sphere(bounds, 20, width=90, height=120)
    pick = torch.cartesian_prod(*[torch.tensor([0, 1])] * 3)
    corners = torch.stack([bounds[pick[:, i], i] for i in range(3)], 1).double()
    local = corners @ cameras.viewmats[:, :3, :3].mT + cameras.viewmats[:, None, :3, 3]
    image = local @ cameras.Ks.mT
    places = image[..., :2] / image[..., 2:]
    assert bool((local[..., 2] > 0).all())
    assert bool(((places >= 0) & (places <= torch.tensor([90, 120]))).all())


def test_a_level_of_density_is_found_where_rays_end() -> None:
    """A fog that thickens towards the middle: its median surface, in whatever units."""

    class Fog:
        channels = frozenset(("density", "color"))

        def bounds(self) -> torch.Tensor:
            return torch.tensor([[-1.5] * 3, [1.5] * 3])

        def density(self, points: torch.Tensor) -> torch.Tensor:
            return 1e3 * torch.sigmoid((0.8 - points.norm(dim=-1)) * 60)

        def color(self, points: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
            return torch.full_like(points, 0.5)

        def density_and_color(
            self, points: torch.Tensor, directions: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return self.density(points), self.color(points, directions)

    renderer = SampledField(Fog(), UniformSampler(Fog().bounds(), 400), 0, 1)
    moved = Similarity(2.0, torch.eye(3).double(), torch.tensor([5.0, 0.0, 0.0]).double())
    scene = FieldScene(renderer, T_scene_field=moved)
    cameras = cameras_on_sphere(scene.bounds(), 8, width=64, height=64)
    mesh = mesh_of_scene(scene, cameras, MeshOptions(surface="density", cell=0.1))
    radii = np.linalg.norm(mesh.vertices - [5.0, 0.0, 0.0], axis=1) / 2
    # The light is halved where 0.69 optical depths are passed, 0.08 in front of the middle.
    assert radii.std() < 0.01 and 0.8 < radii.mean() < 0.95
    fused = mesh_of_scene(scene, cameras, MeshOptions(cell=0.1))
    other = np.linalg.norm(fused.vertices - [5.0, 0.0, 0.0], axis=1) / 2
    assert abs(other.mean() - radii.mean()) < 0.03
    with pytest.raises(ValueError, match="only fields have"):
        mesh_of_scene(MeshScene(mesh), cameras, MeshOptions(surface="density"))
