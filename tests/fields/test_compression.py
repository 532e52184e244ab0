"""Fields in a budget of bytes: never exceeded, better with more, read back as meant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from captures.metrics import psnr
from fields.compression import Task
from fields.conversion.viewpoints import cameras_on_sphere
from fields.grids import load_grid_field, save_grid_field
from fields.samplers import OccupancyGrid
from fields.scene_files import open_scene
from fields.strivec import StrivecConfig, StrivecField
from fields.strivec.coding import balanced, from_rows, strongest_first, to_rows
from fields.strivec.compress import compress as compress_strivec
from fields.tensorf import TensorfConfig, TensorfField
from fields.tensorf.compress import compress as compress_tensorf
from fields.tensorf.factors import VmTensor
from fields.trivec.compress import compress as compress_trivec
from fields.trivec.files import load_trivec, save_trivec
from scripts.main import main

from . import scenes

BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])


@pytest.fixture
def tensorf(tmp_path: Path) -> Path:
    """A field of smooth planes, which few numbers tell."""
    random = torch.Generator().manual_seed(0)
    config = TensorfConfig(
        density_rank=8, color_rank=8, features=6, width=16, first_nodes=24, nodes=48
    )
    field = TensorfField.drawn(config, BOX, 0.2, generator=random)
    whole = torch.tensor([[0.0] * 3, [1.0] * 3])
    smooth = []
    for part in (field.densities, field.colors):
        assert isinstance(part, VmTensor)
        coarse = part.resampled((6, 6, 6), whole)
        for item in coarse.parameters():
            item.data.mul_(8)
        smooth.append(coarse.resampled((48, 48, 48), whole))
    field.densities, field.colors = smooth
    sampler = OccupancyGrid(BOX, step=0.05, resolution=16)
    return save_grid_field(field, sampler, tmp_path / "field.fwa")


def pictures(path: Path) -> torch.Tensor:
    cameras = cameras_on_sphere(BOX, 2, width=32, height=32)
    return open_scene(path).render(cameras).channel("rgb")


@pytest.mark.slow
def test_tensorf_keeps_to_its_budget_and_tells_smooth_planes_in_few_bytes(
    tensorf: Path, tmp_path: Path
) -> None:
    full, found = pictures(tensorf), []
    for size in (12_000, 18_000, 26_000, 48_000):
        out = compress_tensorf(Task(tensorf, tmp_path / f"{size}.fwa", size))
        assert out.stat().st_size <= size
        found.append(float(psnr(pictures(out), full).mean()))
    # 43.7, 63.3, 68.3 and 63.5 dB were seen: the planes' full rank fits between 10 and 15 kB, and
    # beyond it steps keep to a millionth of the energy, whatever more bytes are spent on.
    assert found[0] > 40 and min(found[1:]) > found[0] + 10, found
    with pytest.raises(ValueError, match="allow more bytes"):
        compress_tensorf(Task(tensorf, tmp_path / "tiny.fwa", 500))
    field, _, _ = load_grid_field(TensorfField, tmp_path / "48000.fwa")
    exact, _, _ = load_grid_field(TensorfField, tensorf)
    for name, mine in field.state_dict().items():
        wanted = exact.state_dict()[name]
        error = float((mine - wanted).norm() / wanted.norm().clamp(min=1e-6))
        assert error < 0.05, (name, error)


@pytest.fixture
def strivec(tmp_path: Path) -> Path:
    """Tensors along a ball, of vectors that change slowly."""
    random = torch.Generator().manual_seed(0)
    config = StrivecConfig(
        pitches=(0.25, 0.125),
        density_ranks=(8, 8),
        color_rank=8,
        features=6,
        width=16,
        first_nodes=24,
        nodes=48,
    )
    ball = torch.randn(4000, 3, generator=random)
    ball = 0.7 * ball / ball.norm(dim=1, keepdim=True)
    field = StrivecField.along(ball, config, BOX, 0.2, generator=random)
    for scale in field.each():
        for name in ("densities", "colors"):
            values = scale.blocks(name)
            ends = 3 * torch.randn(2, *values[:, :, 0].shape, generator=random)
            share = torch.linspace(0, 1, scale.nodes)[:, None]
            slow = ends[0, :, :, None] * (1 - share) + ends[1, :, :, None] * share
            getattr(scale, name).data.copy_(slow.reshape(-1, 8))
    sampler = OccupancyGrid(BOX, step=0.05, resolution=16)
    return save_grid_field(field, sampler, tmp_path / "field.fwa")


@pytest.mark.slow
def test_strivec_gets_better_with_every_byte_of_its_budget(strivec: Path, tmp_path: Path) -> None:
    full, found = pictures(strivec), []
    for size in (8_000, 16_000, 30_000):
        out = compress_strivec(Task(strivec, tmp_path / f"{size}.fwa", size))
        assert out.stat().st_size <= size
        found.append(float(psnr(pictures(out), full).mean()))
    assert found[0] + 2 < found[1] < found[2] - 2 and found[2] > 44, found
    with pytest.raises(ValueError, match="allow more bytes"):
        compress_strivec(Task(strivec, tmp_path / "tiny.fwa", 500))
    with pytest.raises(ValueError, match="--refine-steps 0"):
        compress_strivec(Task(strivec, tmp_path / "steps.fwa", 20_000, steps=5))


def test_free_lengths_signs_and_order_of_components_change_no_field() -> None:
    vectors = torch.randn(5, 3, 7, 8, generator=torch.Generator().manual_seed(0)).double()
    vectors[2, 1, :, 3] = 0

    def products(of: torch.Tensor) -> torch.Tensor:
        x, y, z = of.unbind(1)
        return torch.einsum("tir,tjr,tkr->trijk", x, y, z)

    even = balanced(vectors)
    torch.testing.assert_close(products(even), products(vectors))
    lengths = even.norm(dim=2)
    torch.testing.assert_close(lengths[:, 0], lengths[:, 2])
    ordered = strongest_first(even)
    torch.testing.assert_close(products(ordered).sum(1), products(vectors).sum(1))
    energy = products(ordered).square().sum((2, 3, 4))
    assert bool((energy.diff(dim=1) <= 1e-12).all())
    assert torch.equal(from_rows(to_rows(vectors), 5), vectors.reshape(5 * 3 * 7, 8))
    with pytest.raises(ValueError, match="5 tensors"):
        from_rows(to_rows(vectors)[1:], 5)


def test_trivec_compresses_without_photos_and_less_is_worse(tmp_path: Path) -> None:
    source = save_trivec(scenes.field(), tmp_path / "field.fwa")
    full, found = pictures(source), []
    for size in (5_000, 12_000, 40_000):
        out = compress_trivec(Task(source, tmp_path / f"{size}.fwa", size))
        assert out.stat().st_size <= size
        found.append(float(psnr(pictures(out), full).mean()))
    assert found[0] < found[1] < found[2] and found[2] > 35, found


def test_fitting_again_needs_photos_of_the_same_frame(tmp_path: Path) -> None:
    capture = scenes.ball_capture()
    source = save_trivec(scenes.field(), tmp_path / "field.fwa")
    task = Task(source, tmp_path / "out.fwa", 20_000, steps=5)
    with pytest.raises(ValueError, match="--data"):
        compress_trivec(task)
    with pytest.raises(ValueError, match="another frame"):
        compress_trivec(replace(task, capture=capture))
    save_trivec(scenes.field(), source, T_source_field=capture.T_source_capture, overwrite=True)
    out = compress_trivec(replace(task, capture=capture))
    assert out.stat().st_size <= 20_000
    field, similarity = load_trivec(out)
    assert similarity.scale == capture.T_source_capture.scale
    assert len(field)


@pytest.mark.slow
def test_the_command_reports_what_it_wrote(
    tensorf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.fwa"
    arguments: list[Any] = ["compress", tensorf, out, "--target-size", 30_000, "--json"]
    assert main([*map(str, arguments)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["num_bytes"] == out.stat().st_size <= 30_000
    assert summary["source_bytes"] == tensorf.stat().st_size
    assert np.isfinite(summary["render_psnr"]) and summary["render_psnr"] > 25
    assert main(["compress", str(tensorf), str(tmp_path / "b.fwa")]) == 1
    assert "--target-size" in capsys.readouterr().err
