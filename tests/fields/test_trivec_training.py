"""Trivec from photos: quality, exact continuation, files, and input that cannot be trained on."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from captures import View
from captures.evaluation import evaluate
from fields.training import carve
from fields.trivec.config import TrivecConfig
from fields.trivec.files import load_scene, load_trivec
from fields.trivec.method import TrivecMethod, first_leaves
from vq.asset import AssetWriter

from . import scenes

CPU = torch.device("cpu")
SMALL = TrivecConfig(rank=8, nodes=5, sh_degree=0, grid=8, max_leaves=900, rays=512)


def trained(method: TrivecMethod, begin: int, end: int, total: int) -> TrivecMethod:
    """Steps `begin` to `end` of a run of `total`."""
    for step in range(begin, end):
        method.step(step, step / total)
    return method


@pytest.fixture(scope="module")
def method() -> TrivecMethod:
    """A short training of the ball, halving and compaction included."""
    config = replace(SMALL, target_size=60_000)
    fresh = TrivecMethod.create(config, scenes.ball_capture(), device=CPU, seed=0)
    return trained(fresh, 0, 160, 160)


def test_the_hull_holds_the_ball_and_little_more() -> None:
    hull = carve(scenes.ball_capture(), 16)
    assert hull.bounded
    assert 0.6 <= hull.side < 0.9
    centers = hull.low + (hull.cells + 0.5) * hull.side / 16
    inside = centers.norm(dim=1) < 0.3
    axis = (torch.arange(16) + 0.5) * hull.side / 16
    every = hull.low + torch.cartesian_prod(axis, axis, axis)
    assert int(inside.sum()) == int((every.norm(dim=1) < 0.3).sum())
    assert float(centers.norm(dim=1).max()) < 0.5


def test_held_out_views_are_met_in_the_frame_of_the_source(
    method: TrivecMethod, tmp_path: Path
) -> None:
    path = method.save_scene(tmp_path / "scene.ply")
    assert path.suffix == ".fwa" and path.stat().st_size <= 60_000
    scene = load_scene(path)
    result = evaluate(scene, method.capture, background=torch.ones(3))
    assert result.psnr > 21.5  # 22.5 when this was written, of so short a training
    center = scene.bounds().mean(0)
    assert torch.allclose(center, torch.tensor([1.0, -2.0, 0.5]), atol=0.3)


def test_depths_are_in_units_of_the_source(method: TrivecMethod) -> None:
    scene = replace(method.renderable(), T_scene_field=method.capture.T_source_capture)
    cameras = method.capture.T_source_capture.apply_to_cameras(method.capture.cameras)
    output = scene.render(cameras[0], channels=("depth", "alpha"))
    middle = output.channel("depth")[0, 28, 28, 0]
    assert float(middle) == pytest.approx(2.5 * 0.7, rel=0.1)


def test_a_fresh_process_reads_the_same_bits(method: TrivecMethod, tmp_path: Path) -> None:
    path = method.save_scene(tmp_path / "scene.fwa")
    field, _ = load_trivec(path)
    code = (
        "import sys, torch, hashlib; from pathlib import Path;"
        "from fields.trivec.files import load_trivec; f, _ = load_trivec(Path(sys.argv[1]));"
        "print(hashlib.sha256(b''.join(t.numpy().tobytes() for t in "
        "(f.vectors, f.densities, f.colors, f.masks))).hexdigest())"
    )
    import hashlib

    parts = (field.vectors, field.densities, field.colors, field.masks)
    mine = hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()
    other = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == mine


def test_an_exact_file_holds_every_bit(tmp_path: Path) -> None:
    method = TrivecMethod.create(SMALL, scenes.ball_capture(), device=CPU, seed=0)
    trained(method, 0, 20, 80)
    path = method.save_scene(tmp_path / "scene.fwa")
    field, similarity = load_trivec(path)
    kept = method.snapshot()
    for name in ("vectors", "densities", "colors", "masks", "ranks"):
        assert torch.equal(getattr(field, name), getattr(kept, name)), name
    assert torch.equal(field.octree.cells, kept.octree.cells)
    assert similarity.scale == 2.5


@pytest.mark.parametrize("stop", [5, 12, 40])
def test_resuming_equals_not_stopping(stop: int) -> None:
    """Before halving, between two of them, and after compaction."""
    config = replace(SMALL, target_size=30_000, refine_at=(0.2, 0.4))
    capture = scenes.ball_capture()
    whole = trained(TrivecMethod.create(config, capture, device=CPU, seed=1), 0, 50, 50)
    first = trained(TrivecMethod.create(config, capture, device=CPU, seed=1), 0, stop, 50)
    stored = io.BytesIO()
    torch.save(first.state_dict(), stored)
    stored.seek(0)
    second = TrivecMethod.create(config, capture, device=CPU, seed=1)
    second.load_state_dict(torch.load(stored, weights_only=True))
    trained(second, stop, 50, 50)
    assert len(second.field) == len(whole.field)
    for name in ("vectors", "densities", "colors", "masks"):
        assert torch.equal(getattr(second.field, name), getattr(whole.field, name)), name


def test_photos_without_alpha_get_leaves_that_grow_with_the_distance() -> None:
    tree = first_leaves(carve(scenes.ball_capture(with_alpha=False), 8))
    assert float(tree.side) == 16.0
    middle = tree.lows + 0.5 * tree.sides[:, None]
    near = middle.abs().amax(1) < 1
    assert float(tree.sides[near].max()) < float(tree.sides[~near].max())
    assert float(tree.sides.double().pow(3).sum()) == pytest.approx(16.0**3)
    _ = tree.children


def test_transparent_photos_are_refused() -> None:
    capture = scenes.ball_capture()
    empty = View(torch.zeros(56, 56, 3), torch.zeros(56, 56))
    with pytest.raises(ValueError, match="transparent"):
        TrivecMethod.create(SMALL, replace(capture, load_view=lambda _: empty), device=CPU, seed=0)


def test_an_object_out_of_all_views_is_refused() -> None:
    capture = scenes.ball_capture()
    moved = capture.cameras.viewmats.clone()
    moved[:, 0, 3] += torch.linspace(-9, 9, len(moved)).double()
    away = replace(capture, cameras=replace(capture.cameras, viewmats=moved))
    with pytest.raises(ValueError, match="poses"):
        TrivecMethod.create(SMALL, away, device=CPU, seed=0)


def test_a_budget_below_the_smallest_file_is_refused(method: TrivecMethod, tmp_path: Path) -> None:
    from fields.trivec.files import save_coded
    from fields.trivec.sensitivity import measure_sensitivity

    field = method.snapshot()
    sensitivity = measure_sensitivity(
        field,
        lambda: scenes.rays(64),
        rounds=2,
        step=0.2,
        generator=torch.Generator().manual_seed(0),
    )
    with pytest.raises(ValueError, match="allow more bytes"):
        save_coded(field, sensitivity, tmp_path / "a.fwa", target_size=300)


def test_files_that_are_no_fields_are_refused(tmp_path: Path) -> None:
    other = AssetWriter("splats").write(tmp_path / "other.fwa")
    with pytest.raises(ValueError, match="expected 'trivec'"):
        load_scene(other)
    empty = AssetWriter("trivec").write(tmp_path / "empty.fwa")
    with pytest.raises(ValueError, match="lacks"):
        load_scene(empty)
    data = bytearray(empty.read_bytes())
    data[-3] ^= 1
    empty.write_bytes(data)
    with pytest.raises(ValueError):
        load_scene(empty)


def test_wrong_settings_name_the_field() -> None:
    with pytest.raises(ValueError, match="`grid`"):
        TrivecConfig(grid=12)
    with pytest.raises(ValueError, match="`refine_at`"):
        TrivecConfig(refine_at=(0.0,))
