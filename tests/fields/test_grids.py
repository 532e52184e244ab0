"""TensoRF and Strivec from photos: refinement that changes nothing, exact continuation, files."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from captures.evaluation import evaluate
from fields import Field, RayRenderer
from fields.contraction import CONTRACTED, contract, stretching
from fields.grids import GridField, GridMethod, load_grid_field
from fields.grids.contracted import ContractedGrid
from fields.grids.files import scene_renderer
from fields.kernels import native_kernels
from fields.rays import Rays
from fields.samplers import OccupancyGrid
from fields.scene_files import open_scene
from fields.strivec import StrivecConfig, StrivecField, StrivecMethod
from fields.strivec.cubes import Cubes, Lattice, coverage
from fields.tensorf import TensorfConfig, TensorfField, TensorfMethod
from splats.formats import save
from splats.gaussians import Gaussians
from vq.asset import AssetWriter

from . import scenes

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"rays": 256, "steps": 48, "cells": 32, "features": 8, "width": 16}
CONFIGS = {
    "vm": TensorfConfig(**SMALL, density_rank=8, color_rank=8, first_nodes=16, nodes=40),
    "cp": TensorfConfig(
        **SMALL, decomposition="cp", density_rank=16, color_rank=24, first_nodes=16, nodes=40
    ),
    "strivec": StrivecConfig(
        **SMALL,
        pitches=(0.4, 0.2),
        density_ranks=(8, 8),
        color_rank=8,
        first_nodes=12,
        nodes=40,
        coarse_until=0.06,
    ),
}
STRIVEC = pytest.param("strivec", marks=pytest.mark.slow)
"""Where it takes much longer than the others."""
BOX = torch.tensor([[-0.4, -0.5, -0.6], [0.6, 0.5, 0.4]])


def fresh(name: str, seed: int = 0) -> GridMethod:
    """A trainee of the ball."""
    kind = StrivecMethod if name == "strivec" else TensorfMethod
    return kind.create(CONFIGS[name], scenes.ball_capture(), device=CPU, seed=seed)


def trained(method: GridMethod, begin: int, end: int, total: int) -> GridMethod:
    """Steps `begin` to `end` of a run of `total`."""
    for step in range(begin, end):
        method.step(step, step / total)
    return method


def field(name: str) -> GridField:
    """A random field in `BOX`."""
    random, config = torch.Generator().manual_seed(3), CONFIGS[name]
    if isinstance(config, StrivecConfig):
        points = torch.rand(200, 3, generator=random) * 0.5 - 0.1
        return StrivecField.along(points, config, BOX, 0.1, generator=random)
    return TensorfField.drawn(config, BOX, 0.1, generator=random)


@pytest.fixture(scope="module", params=list(CONFIGS))
def method(request: pytest.FixtureRequest) -> GridMethod:
    """A short training of the ball, all refinements included."""
    return trained(fresh(request.param), 0, 120, 120)


def test_held_out_views_are_met_in_the_frame_of_the_source(
    method: GridMethod, tmp_path: Path
) -> None:
    path = method.save_scene(tmp_path / "scene.ply")
    assert path.suffix == ".fwa"
    scene = open_scene(path)
    psnr = evaluate(scene, method.capture, background=torch.ones(3)).psnr
    floor = {"vm": 21.0, "cp": 19.0, "strivec": 19.3}  # measured: 21.9, 20.0, 20.2 in 120 steps
    name = "strivec" if isinstance(method, StrivecMethod) else method.config.decomposition
    assert psnr > floor[name], psnr
    live = method.renderable().render(method.capture.cameras[0]).channel("rgb")
    moved = method.capture.T_source_capture.apply_to_cameras(method.capture.cameras[0])
    stored = scene.render(moved).channel("rgb")
    torch.testing.assert_close(live, stored, atol=2e-3, rtol=0)  # cells on borders may change


def test_a_file_holds_every_bit(method: GridMethod, tmp_path: Path) -> None:
    path = method.save_scene(tmp_path / "scene.fwa")
    found, sampler, similarity = load_grid_field(method.Field, path)
    assert similarity.scale == 2.5
    assert torch.equal(sampler.occupied, method.sampler.occupied)
    mine, theirs = method.field.state_dict(), found.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("name", ["vm", "cp", STRIVEC])
def test_resuming_equals_not_stopping_across_refinements(name: str) -> None:
    """Stopped in the coarse stage, between two refinements, and after the last."""
    whole = trained(fresh(name, 1), 0, 34, 34)
    states = []
    first = fresh(name, 1)
    for stop in (1, 4, 20):
        trained(first, 0 if not states else states[-1][0], stop, 34)
        stored = io.BytesIO()
        torch.save(first.state_dict(), stored)
        states.append((stop, stored.getvalue()))
    for stop, data in states:
        second = fresh(name, 2)
        second.load_state_dict(torch.load(io.BytesIO(data), weights_only=True))
        trained(second, stop, 34, 34)
        mine, theirs = whole.field.state_dict(), second.field.state_dict()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine), (stop, name)
        assert torch.equal(whole.sampler.densities, second.sampler.densities)


@pytest.mark.parametrize("name", ["vm", STRIVEC])
def test_scenes_without_end_are_modelled_in_contracted_space(name: str, tmp_path: Path) -> None:
    """Photos without alpha: what is far away has its place, too, and files keep it."""
    kind = StrivecMethod if name == "strivec" else TensorfMethod
    capture = scenes.ball_capture(with_alpha=False)
    method = kind.create(CONFIGS[name], capture, device=CPU, seed=0)
    assert isinstance(method.sampler, ContractedGrid)
    trained(method, 0, 120, 120)
    live = method.renderable()
    assert evaluate(live, capture, frame="capture").psnr > 17
    path = method.save_scene(tmp_path / "scene.fwa")
    _, sampler, _ = load_grid_field(method.Field, path)
    assert isinstance(sampler, ContractedGrid)
    moved = capture.T_source_capture.apply_to_cameras(capture.cameras[0])
    stored = open_scene(path).render(moved).channel("rgb")
    torch.testing.assert_close(
        live.render(capture.cameras[0]).channel("rgb"), stored, atol=2e-3, rtol=0
    )


def test_steps_to_infinity_measure_contracted_lengths() -> None:
    """Fog of one density per contracted length: along an axis, light passes half the cube."""
    box = torch.tensor([[0.0] * 3, [1.0] * 3])
    grid = ContractedGrid(box, step=1 / 400, resolution=8)
    x = torch.tensor([[0.0, 0.0, 0.0]])
    rays = Rays(x, torch.tensor([[1.0, 0.0, 0.0]]), torch.ones(1))
    samples = grid.sample(rays)
    points = samples.points(rays)
    depth = float((CONTRACTED * stretching(points) * samples.lengths).sum())
    near, far = contract(torch.tensor([[0.02, 0, 0], [100.0, 0, 0]]))[:, 0].tolist()
    assert depth == pytest.approx(far - near, rel=2e-3)
    grid.occupied[6:] = False  # x > 1 in the world
    kept = grid.sample(rays)
    assert float(kept.points(rays)[:, 0].max()) < 1.01
    assert len(kept.starts) == int((points[:, 0] < 1).sum())


@pytest.mark.parametrize("name", list(CONFIGS))
def test_more_nodes_change_nothing_where_old_ones_stay(name: str) -> None:
    start = field(name)
    # Twice the intervals: every old node is a new one.
    points = torch.rand(500, 3) * 0.4 - 0.05
    if isinstance(start, StrivecField):
        everywhere = start.box[0] + torch.rand(4000, 3) * (start.box[1] - start.box[0])
        for scale in start.each():
            grown = scale.refined(everywhere, 2 * scale.nodes - 1, torch.Generator())
            kept = grown.cubes.grid.lookup(scale.cells.long())
            known = kept >= 0
            assert bool(known.any())
            old = scale.blocks("colors")[known]
            mine = grown.blocks("colors")[kept[known]][:, :, ::2]
            torch.testing.assert_close(mine, old, atol=1e-6, rtol=0)
        return
    assert isinstance(start, TensorfField)
    whole = torch.tensor([[0.0] * 3, [1.0] * 3])
    size = tuple(2 * n - 1 for n in start.densities.size)
    finer = start.densities.resampled(size, whole)  # pyright: ignore[reportArgumentType]
    local = (points - BOX[0]) / (BOX[1] - BOX[0])
    torch.testing.assert_close(
        finer.summed(local), start.densities.summed(local), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("name", list(CONFIGS))
def test_fields_are_fields_and_their_gradients_are_those_of_the_twin(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fields.tensors import cp, vm

    start = field(name)
    sampler = OccupancyGrid(BOX, step=0.05, resolution=8)
    assert isinstance(start, Field)
    assert isinstance(scene_renderer(start, sampler), RayRenderer)
    points = torch.rand(300, 3) * 0.4
    directions = torch.nn.functional.normalize(torch.randn(300, 3), dim=1)

    def both() -> list[Tensor]:
        density, color = start.density_and_color(points, directions)
        loss = (density * torch.linspace(0, 1, 300)).sum() + color.square().sum()
        return [density.detach(), color.detach(), *torch.autograd.grad(loss, start.grids())]

    fast = both()
    for module in (cp, vm):
        monkeypatch.setattr(module, "native_for", lambda *_: None)
    for mine, twin in zip(fast, both(), strict=True):
        torch.testing.assert_close(mine, twin, rtol=1e-3, atol=2e-5)


def test_shares_of_cubes_sum_to_one_inside_and_fade_out_without_a_jump() -> None:
    lattice = Lattice.around(BOX, 0.17, 1.3)
    random = torch.Generator().manual_seed(0)
    points = torch.rand(400, 3, generator=random) * 0.7 - 0.2
    cubes = Cubes(lattice, lattice.cells_of(points).int())
    torch.testing.assert_close(coverage(cubes.pairs(points)), torch.ones(400), atol=1e-6, rtol=0)
    line = torch.linspace(-3, 3, 60_001)[:, None] * torch.tensor([[0.3, 0.8, -0.52]])
    share = coverage(cubes.pairs(line))
    assert float(share[0]) == float(share[-1]) == 0
    steepest = 1.5 / (0.3 * 0.17) * 3 * 1e-4  # of 3 s^2 - 2 s^3 in the zone, along all three axes
    assert float(share.diff().abs().max()) < steepest


@pytest.mark.skipif(native_kernels() is None, reason="native kernels were not built")
def test_kernels_that_search_equal_their_twins() -> None:
    lattice = Lattice.around(BOX, 0.09, 1.6)
    points = torch.rand(5000, 3) * 1.6 - 0.8
    cubes = Cubes(lattice, lattice.cells_of(points[:60]).int())
    mine, twin = cubes.pairs(points), cubes._twin(points)
    for name in ("offsets", "tensors", "local", "weights"):
        torch.testing.assert_close(getattr(mine, name), getattr(twin, name), atol=1e-6, rtol=0)
    possible = torch.rand(32, 32, 32) < 0.02
    sampler = OccupancyGrid(BOX, step=0.013, resolution=32, possible=possible)
    rays = scenes.rays(900)
    near, far = rays.box_span(BOX)
    counts = ((far - near) / sampler.step).ceil().clamp(min=0).long()
    marched = sampler.sample(rays)
    plain = sampler._twin(rays, near, counts)
    # Middles on the border of two cells may fall on either side: none seen.
    assert abs(len(marched) - len(plain)) <= 3
    assert len(plain) > 1000


def test_a_field_does_not_depend_on_the_unit_of_length() -> None:
    start = field("strivec")
    assert isinstance(start, StrivecField)
    large = StrivecField.blank(start.description() | {"box": (1000 * BOX).tolist(), "unit": 100.0})
    large.load_state_dict(start.state_dict())
    points = torch.rand(400, 3) * 0.6 - 0.2
    torch.testing.assert_close(
        1000 * large.density(1000 * points), start.density(points), rtol=1e-3, atol=1e-4
    )


def test_points_of_a_file_place_the_tensors(tmp_path: Path) -> None:
    capture = scenes.ball_capture()
    on_ball = torch.nn.functional.normalize(torch.randn(400, 3), dim=1) * 0.3
    means = capture.T_source_capture.apply(on_ball)
    count = len(means)
    gaussians = Gaussians(
        means,
        torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.full((count, 3), -4.0),
        torch.zeros(count),
        torch.zeros(count, 1, 3),
        torch.zeros(count, 0, 3),
    )
    save(gaussians, tmp_path / "points.ply")
    config = replace(StrivecConfig(**SMALL), points=tmp_path / "points.ply")
    start = StrivecMethod.create(config, capture, device=CPU, seed=0).field
    assert isinstance(start, StrivecField)
    torch.testing.assert_close(
        coverage(start.each()[-1].cubes.pairs(on_ball)), torch.ones(count), atol=1e-5, rtol=0
    )
    save(replace(gaussians, means=means + 1000), tmp_path / "away.ply")
    with pytest.raises(ValueError, match="lies in the box"):
        config = replace(config, points=tmp_path / "away.ply")
        StrivecMethod.create(config, capture, device=CPU, seed=0)


@pytest.mark.parametrize("name", ["vm", "strivec"])
def test_nothing_found_is_waited_for_and_said_when_it_is_late(name: str) -> None:
    """In its first seconds a slow field shows nothing anywhere: no cell may be given up then."""
    trainee = fresh(name)
    trainee.step(0, 0.0)
    possible = trainee.sampler.occupied
    trainee.field.density = lambda points: torch.zeros(points.shape[:-1])
    trainee.step(1, 0.065)
    assert isinstance(trainee.field, TensorfField)
    assert torch.equal(trainee.sampler.occupied, possible)
    with pytest.raises(ValueError, match="every cell became empty"):
        trainee.step(2, 0.6)


def test_files_that_are_no_fields_are_refused(tmp_path: Path) -> None:
    other = AssetWriter("splats").write(tmp_path / "other.fwa")
    with pytest.raises(ValueError, match="expected 'tensorf'"):
        load_grid_field(TensorfField, other)
    empty = AssetWriter("strivec").write(tmp_path / "empty.fwa")
    with pytest.raises(ValueError, match="lacks"):
        load_grid_field(StrivecField, empty)
    path = fresh("vm").save_scene(tmp_path / "scene.fwa")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError):
        open_scene(path)


def test_transparent_photos_without_training_ones_are_refused() -> None:
    capture = replace(scenes.ball_capture(), train=())
    with pytest.raises(ValueError, match="no training images"):
        TensorfMethod.create(CONFIGS["vm"], capture, device=CPU, seed=0)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (TensorfConfig, {"density_rank": 12}, "multiple of 8"),
        (TensorfConfig, {"nodes": 20}, "first_nodes <= nodes"),
        (TensorfConfig, {"upsample_at": (0.5, 0.2)}, "ascending"),
        (StrivecConfig, {"pitches": (0.1, 0.2, 0.4)}, "descending"),
        (StrivecConfig, {"overlap": 1.0}, "`overlap`"),
        (StrivecConfig, {"density_ranks": (8,)}, "`density_ranks`"),
        (StrivecConfig, {"coarse_until": 0.5}, "`coarse_until`"),
        (StrivecConfig, {"rays": 0}, "`rays`"),
    ],
)
def test_wrong_settings_name_the_field(kind: type, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)
