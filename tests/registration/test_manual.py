"""Picked points, gravity, known lengths, files and the two verbs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from registration import Cloud, align_gravity, align_points, as_cloud, find_floor, metric_scale
from registration.output import write_cloud
from scripts.main import main
from splats.formats import load

from .conftest import motion, moved


def test_picked_points_give_the_exact_similarity() -> None:
    """Three pairs suffice; what no similarity explains is left as the residual."""
    truth = motion(2, scale=2.5)
    points = np.random.default_rng(0).normal(size=(3, 3))
    found, rmse = align_points(points, moved(points, truth), with_scale=True)
    np.testing.assert_allclose(found.matrix().numpy(), truth, atol=1e-12)
    assert rmse < 1e-12
    rigid, rmse = align_points(points, moved(points, truth))
    spread = np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean())
    assert rigid.scale == 1 and rmse == pytest.approx(1.5 * spread)  # 2.5 times as large less once


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((2, 3)), "n >= 3"),
        (np.outer([0, 1, 2], [1, 1, 1]), "one line"),
        (np.full((3, 3), np.nan), "finite"),
    ],
)
def test_picked_points_that_fix_nothing(points: NDArray, message: str) -> None:
    """Named with what to do."""
    with pytest.raises(ValueError, match=message):
        align_points(points, np.eye(3)[: len(points)])


@pytest.mark.parametrize("up", [(0, 0, 1), (1, 2, 3), (0, 1, 0), (0, -1, 0)])
def test_gravity(up: tuple[float, float, float]) -> None:
    """Up goes to -y by a proper rotation, opposite directions included."""
    turn = align_gravity(up).rotation
    unit = torch.tensor(up, dtype=torch.float64) / float(np.linalg.norm(up))
    torch.testing.assert_close(turn @ unit, torch.tensor([0.0, -1, 0], dtype=torch.float64))
    assert float(torch.linalg.det(turn)) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("hint", [None, (0.1, -0.1, 0.1)])
def test_the_floor_of_a_room(room: NDArray[np.float64], seed: int, hint: tuple | None) -> None:
    """To a hundredth of a degree, whatever the room's rotation, with and without a hint of up."""
    turn = motion(seed)
    up = turn[:3, :3] @ [0, 0, 1]
    found = find_floor(Cloud(moved(room, turn)), up=None if hint is None else up + np.array(hint))
    assert found @ up > 0
    assert np.degrees(np.arcsin(np.linalg.norm(np.cross(found, up)))) < 0.01


def test_a_known_length() -> None:
    """Two points 4 units apart that are 2 meters apart."""
    assert metric_scale([0, 0, 0], [4, 0, 0], 2.0).scale == pytest.approx(0.5)
    with pytest.raises(ValueError, match="two different"):
        metric_scale([1, 1, 1], [1, 1, 1], 2.0)


@pytest.mark.parametrize("ending", [".ply", ".xyz", ".npy"])
def test_clouds_survive_their_files(tmp_path: Path, ending: str) -> None:
    """Positions to 9 digits; nothing is overwritten."""
    points = np.random.default_rng(0).normal(size=(50, 3))
    path = tmp_path / f"cloud{ending}"
    write_cloud(Cloud(points), path)
    np.testing.assert_allclose(as_cloud(path).points, points, rtol=1e-6, atol=1e-6)
    with pytest.raises(FileExistsError):
        write_cloud(Cloud(points), path)


def test_pcd_files(shared_data: Path, tmp_path: Path) -> None:
    """A compressed one of the Point Cloud Library, and ascii."""
    cloud = as_cloud(shared_data / "registration/pcl_kinect_sequence/capture0001.pcd")
    assert len(cloud) == 249_647 and np.ptp(cloud.points[:, 2]) < 10
    path = tmp_path / "a.pcd"
    path.write_text(
        "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 3\n"
        "HEIGHT 1\nPOINTS 3\nDATA ascii\n0 0 0\n1 2 3\nnan nan nan\n"
    )
    np.testing.assert_array_equal(as_cloud(path).points, [[0, 0, 0], [1, 2, 3]])
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match="DATA"):
        as_cloud(path)


def test_open3d_and_trimesh_objects() -> None:
    """Points and colors of both libraries."""
    trimesh = pytest.importorskip("trimesh")
    points = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_allclose(as_cloud(trimesh.PointCloud(points)).points, points)
    assert len(as_cloud(trimesh.creation.box())) == 100_000
    o3d = pytest.importorskip(
        "open3d",
        reason="Open3D or its system libraries are missing",
        exc_type=ImportError,
    )
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud.paint_uniform_color([1, 0, 0])
    found = as_cloud(cloud)
    np.testing.assert_array_equal(found.points, points)
    assert found.colors is not None and found.colors[0].tolist() == [1, 0, 0]


def test_align_verb_on_splats(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The moved file lies on the target, Gaussian by Gaussian; merging adds nothing new."""
    original = shared_data / "splats/toy-cat/scene.compressed.ply"
    transform = '{"scale": 3.0, "rotation": [0.5, 0.5, 0.5, 0.5], "translation": [1, 2, 3]}'
    turned = tmp_path / "turned.ply"
    arguments = ["convert", original, turned, "--transform", transform, "--views", "0"]
    assert main([str(item) for item in arguments]) == 0
    capsys.readouterr()
    output = tmp_path / "aligned.ply"
    arguments = ["align", turned, original, output, "--with-scale", "--json"]
    assert main([str(item) for item in arguments]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["aligned"] and summary["scale"] == pytest.approx(1 / 3, rel=1e-4)
    assert {"T_target_source", "inlier_ratio", "rmse", "seconds"} <= summary.keys()
    before, after = load(original), load(output)
    torch.testing.assert_close(after.means, before.means, atol=1e-4, rtol=0)
    torch.testing.assert_close(after.log_scales, before.log_scales, atol=1e-3, rtol=0)
    torch.testing.assert_close(after.shN, before.shN, atol=5e-3, rtol=0)
    assert main([str(item) for item in arguments[:-1]]) == 1
    merged = tmp_path / "merged.ply"
    arguments = ["align", turned, original, merged, "--with-scale", "--merge"]
    assert main([str(item) for item in arguments]) == 0
    assert len(load(merged)) == len(before)


def test_place_verb(
    room: NDArray[np.float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Upright and in meters."""
    source = tmp_path / "room.npy"
    np.save(source, room)
    arguments = [
        "place", str(source), str(tmp_path / "placed.npy"), "--up", "0,0,1",
        "--length", "[[0,0,0],[0,0,1]]", "2.0", "--json",
    ]  # fmt: skip
    assert main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["scale"] == pytest.approx(2)
    placed = np.load(tmp_path / "placed.npy")
    np.testing.assert_allclose(placed[:, 1], -2 * room[:, 2], atol=1e-9)
