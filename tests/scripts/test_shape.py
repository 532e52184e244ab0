"""`fieldwright shape` from meshes to a model and back, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fields.meshes import Mesh, MeshScene, load_mesh, save_mesh
from fields.shapes.mesh import TriangleMesh, write_mesh
from fields.shapes.models.weights import SHIPPED
from fields.shapes.procedural import procedural_shape, tessellated
from scripts.main import main

TINY = [
    "--floats", "1024", "--width", "16", "--batch", "2", "--queries", "256",
    "--learning-rate", "5e-3", "--test-every", "9", "--num-threads", "1",
]  # fmt: skip


def summary(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    """The JSON line of a command that succeeds."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two solids far from the origin, and a file that holds none."""
    folder = tmp_path_factory.mktemp("meshes")
    for seed in (1, 4):
        mesh = tessellated(procedural_shape(seed)[1], resolution=24)
        write_mesh(mesh.placed(1000 * mesh.vertices + 5000), folder / f"solid{seed}.obj")
    (folder / "empty.obj").write_text("v 0 0 0\n")
    return folder


@pytest.fixture(scope="module")
def run(meshes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training on them."""
    out = tmp_path_factory.mktemp("run")
    args = ["shape", "prepare", meshes, out / "data", "--processes", 1]
    assert main([str(arg) for arg in args]) == 0
    args = ["shape", "train", "--data", out / "data", "--out", out / "run", "--max-steps", 60]
    assert main([*map(str, args), *TINY]) == 0
    return out / "run"


def test_prepare_reports_and_goes_on(meshes: Path, tmp_path: Path, capsys) -> None:
    done = summary(capsys, "shape", "prepare", meshes, tmp_path / "data", "--processes", 1)
    assert done["prepared"] == 2 and "empty.obj" in next(iter(done["failed"]))
    health = json.loads((tmp_path / "data" / "solid1.health.json").read_text())
    assert health["watertight"] and health["sign_disagreement"] == 0
    done = summary(capsys, "shape", "prepare", "--procedural", 1, "--seed", 6, tmp_path / "more")
    assert done["prepared"] == 1


@pytest.mark.slow
def test_encode_decode_compare(meshes: Path, run: Path, tmp_path: Path, capsys) -> None:
    mesh, latent, back = meshes / "solid1.obj", tmp_path / "a.fwa", tmp_path / "a.glb"
    done = summary(capsys, "shape", "encode", mesh, latent, "--model", run)
    assert done["num_bytes"] == latent.stat().st_size < 3000 and done["floats"] == 1024
    told = summary(capsys, "info", latent)
    assert told["kind"] == "shape" and told["family"] == "hybrid"
    assert sum(told["sections"].values()) == told["num_bytes"] == latent.stat().st_size
    done = summary(capsys, "shape", "decode", latent, back, "--model", run, "--resolution", 32)
    assert done["num_primitives"] == len(load_mesh(back).faces) > 100
    low, high = (load_mesh(path).vertices.min(0) for path in (mesh, back))
    assert abs(low - high).max() < 1000  # in the units of the source
    again = tmp_path / "again.glb"
    assert main(["shape", "decode", str(latent), str(again), "--model", str(run),
                 "--resolution", "32"]) == 0  # fmt: skip
    assert again.read_bytes() == back.read_bytes()
    done = summary(
        capsys, "shape", "compare", mesh, mesh, latent, "--model", run, "--resolution", 32,
        "--points", 3000,
    )  # fmt: skip
    rows = done["rows"]
    assert rows["solid1.obj"]["iou"] == 1 and rows["solid1.obj"]["surface"]["f_score"] == 1
    assert rows["a.fwa"]["iou"] < rows["ceiling of the lattice"]["iou"] <= 1
    assert rows["a.fwa"]["num_bytes"] == latent.stat().st_size


@pytest.mark.slow
def test_a_latent_of_another_model_is_refused(meshes: Path, run: Path, tmp_path: Path, capsys):
    latent = tmp_path / "a.fwa"
    summary(capsys, "shape", "encode", meshes / "solid4.obj", latent, "--model", run)
    other = tmp_path / "other"
    data = json.loads((run / "config.json").read_text())["config"]["data"]
    args = ["shape", "train", "--data", data, "--out", str(other), "--max-steps", "1", *TINY]
    assert main(args) == 0
    capsys.readouterr()
    assert (
        main(["shape", "decode", str(latent), str(tmp_path / "a.obj"), "--model", str(other)]) == 1
    )
    assert "made by model" in capsys.readouterr().err


def test_usage(capsys) -> None:
    assert main(["shape"]) == 2
    assert main(["shape", "encod"]) == 2
    assert "Did you mean encode" in capsys.readouterr().err
    assert main(["shape", "prepare", "only-one-path"]) == 1


@pytest.mark.skipif(not SHIPPED.exists(), reason="the package has no trained model")
def test_the_shipped_model_works_out_of_the_box(tmp_path: Path, capsys) -> None:
    from captures import Cameras, Renderable
    from fields.scene_files import open_scene

    assert SHIPPED.stat().st_size <= 8 << 20
    mesh = tessellated(procedural_shape(6)[1], resolution=40)
    source = write_mesh(TriangleMesh(mesh.vertices, mesh.faces), tmp_path / "a.ply")
    done = summary(capsys, "shape", "encode", source, tmp_path / "a.fwa")
    assert done["encode_seconds"] < 20
    done = summary(capsys, "shape", "compare", source, tmp_path / "a.fwa", "--points", 5000)
    assert done["rows"]["a.fwa"]["iou"] > 0.5
    scene = open_scene(tmp_path / "a.fwa")
    assert isinstance(scene, Renderable) and isinstance(scene, MeshScene)
    camera = Cameras(
        torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 0, 1]]]).double(),
        torch.tensor([[[40.0, 0, 24], [0, 40, 24], [0, 0, 1]]]).double(), 48, 48,
    )  # fmt: skip
    assert 0.02 < float(scene.render(camera).channel("alpha").mean()) < 0.9
    assert save_mesh(Mesh(mesh.vertices, mesh.faces), tmp_path / "b.obj") > 0
