"""Compressed PLY, .splat and .ksplat: every value within half a step of its encoding."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from splats.formats import InMemory, View, collect
from splats.formats.compare import rotation_errors
from splats.formats.compressed_ply import BLOCK, CompressedPlyFormat, CompressedPlyOptions
from splats.formats.ksplat_format import KsplatFormat, KsplatOptions
from splats.formats.splat import SplatFormat, SplatOptions
from splats.gaussians import Gaussians
from splats.sh import SH_C0

from .scene_files import random_gaussians

WRITERS: list[tuple[Any, Any]] = [
    (CompressedPlyFormat(), CompressedPlyOptions()),
    (SplatFormat(), SplatOptions()),
    (KsplatFormat(), KsplatOptions(level=0)),
    (KsplatFormat(), KsplatOptions(level=1)),
    (KsplatFormat(), KsplatOptions(level=2)),
]
IDS = ["compressed", "splat", "ksplat0", "ksplat1", "ksplat2"]
EXTREMES = {
    "means": [0.0, 1e-6, 2047.9, -2048.0, 1e5, -3e-3],
    "quats": [0.0, 1.0, -1.0, 1e-20, 3e9],
    "log_scales": [-float("inf"), -80.0, -20.0, -9.0, 0.0, 5.9, 11.0],
    "logit_opacities": [-float("inf"), float("inf"), -90.0, 40.0],
    "sh0": [-50.0, 50.0, 1.7724539, -1.7724539, 3.5],
    "shN": [-5.0, 5.0, -4.0, 3.98, 1.0, 1 / 64],
}


@st.composite
def scenes(draw: st.DrawFn) -> Gaussians:
    """Random scenes with extreme values strewn in."""
    count = draw(st.sampled_from([1, 2, 255, 256, 257, 600]))
    seed = draw(st.integers(0, 2**31))
    scene = random_gaussians(count, draw(st.integers(0, 3)), seed=seed)
    choose = np.random.default_rng(seed)
    for name, values in EXTREMES.items():
        if draw(st.booleans()):
            tensor = getattr(scene, name).reshape(-1)
            hits = torch.from_numpy(choose.random(len(tensor)) < 0.05)
            tensor[hits] = torch.from_numpy(choose.choice(values, int(hits.sum()))).float()
    if draw(st.booleans()):
        scene.means[:] = scene.means[:1]  # a flat block
    return scene


def spread(values: Tensor) -> Tensor:
    """Extent of each block of 256 rows, row by row."""
    blocks = values.split(BLOCK)
    return torch.cat([(b.amax(0) - b.amin(0)).expand_as(b) for b in blocks]).double()


def assert_within(error: Tensor, bound: Any, *, what: str) -> None:
    excess = error.double() - torch.as_tensor(bound, dtype=torch.float64)
    assert error.numel() == 0 or float(excess.max()) <= 0, f"{what}: {float(excess.max())} beyond"


def float_noise(*values: Tensor) -> Tensor:
    """A few rounding errors of float32 numbers of this size."""
    return sum((8 * 2.0**-24 * value.abs().double() for value in values), torch.tensor(1e-7))


def assert_bounds(format_: Any, options: Any, a: Gaussians, b: Gaussians) -> None:
    """The bounds that follow from the number of bits of each field."""
    assert len(a) == len(b)
    if len(a) == 0:
        return
    opacity = (a.logit_opacities.sigmoid() - b.logit_opacities.sigmoid()).abs()
    assert_within(opacity, 0.5 / 255 + 2e-6, what="opacities")
    mean_error = (a.means.double() - b.means).abs()
    color, read = a.sh0[:, 0].double() * SH_C0 + 0.5, b.sh0[:, 0].double() * SH_C0 + 0.5
    color_error = (color.clamp(0, 1) - read).abs()
    rest = b.shN.shape[1]
    sh_error = (a.shN[:, :rest] - b.shN).abs()
    if isinstance(format_, CompressedPlyFormat):
        extent = spread(a.means)
        levels = torch.tensor([2047.0, 1023.0, 2047.0], dtype=torch.float64)
        noise = float_noise(a.means) + 2e-7 * extent + 8e-7 * a.means.abs().amax()
        assert_within(mean_error, extent / levels / 2 + noise, what="means")
        scales = a.log_scales.clamp(-20, 20)
        bound = spread(scales) / levels / 2 + 1e-4
        assert_within((scales - b.log_scales).abs(), bound, what="log scales")
        color_bound = spread(color) / 510 + float_noise(color, color.amax()) + 1e-5
        assert_within((color - read).abs(), color_bound, what="colors")
        assert_within(rotation_errors(a.quats, b.quats), 0.28, what="rotations")
        limited = a.shN[:, :rest].clamp(-4, 4)
        assert_within((limited - b.shN).abs(), 3 / 128 + 1e-6, what="harmonics")
        inner = a.shN[:, :rest].abs() < 3.95
        assert_within(sh_error[inner], 1 / 64 + 1e-6, what="inner harmonics")
        return
    assert_within(color_error, 0.5 / 255 + 1e-5, what="colors")
    if isinstance(format_, SplatFormat) or options.level == 0:
        assert torch.equal(a.means, b.means)
        shown = a.log_scales.clamp(-86, 88)
        assert_within((shown - b.log_scales.clamp(-86, 88)).abs(), 2e-5, what="log scales")
    if isinstance(format_, SplatFormat):
        assert_within(rotation_errors(a.quats, b.quats), 0.9, what="rotations")
        return
    assert_within(rotation_errors(a.quats, b.quats), 0.1, what="rotations")
    if options.level == 0:
        assert torch.equal(a.shN[:, :rest], b.shN)
        return
    step = options.block_size / 2 / 32767
    assert_within(mean_error, step / 2 + 4 * float_noise(a.means), what="means")
    scales = a.log_scales.double().exp().clamp(2.0**-24, 65504)
    bound = (scales * 2.0**-11).clamp(min=2.0**-25) + 1e-6 * scales
    assert_within((scales - b.log_scales.double().exp()).abs(), bound, what="scales")
    if options.level == 1:
        sh_bound = a.shN[:, :rest].abs().double() * 2.0**-11 + 2.0**-25
    else:
        low, high = (a.shN[:, :rest].amin(), a.shN[:, :rest].amax()) if sh_error.numel() else (0, 0)
        sh_bound = (float(high) - float(low)) / 510 + 1e-5
    assert_within(sh_error, sh_bound, what="harmonics")


@pytest.mark.parametrize(("format_", "options"), WRITERS, ids=IDS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(scene=scenes())
def test_round_trip_stays_within_the_steps(tmp_path, format_, options, scene):
    path = tmp_path / "scene"
    report = format_.write(InMemory(scene), path, options=options, overwrite=True)
    written = collect(format_.open(path))
    order = torch.arange(len(scene)) if report.order is None else report.order
    assert sorted(order.tolist()) == list(range(len(scene)))
    assert_bounds(format_, options, scene[order], written)
    summary = format_.summarize(path)
    assert sum(summary.sections.values()) == report.num_bytes == path.stat().st_size
    assert (summary.num_primitives, summary.sh_degree) == (len(scene), written.sh_degree)


@pytest.mark.parametrize(("format_", "options"), WRITERS, ids=IDS)
@pytest.mark.parametrize("count", [0, 1, 256, 300])
def test_writing_what_was_read_stays_where_it_is(tmp_path, format_, options, count):
    """What was read lies on the grid of the encoding, so that writing it again moves nothing."""
    unsorted = {"reorder": False} if hasattr(options, "reorder") else {}
    unsorted |= {"sort": False} if hasattr(options, "sort") else {}
    kept = type(options)(**unsorted) if unsorted else options
    format_.write(InMemory(random_gaussians(count, 2)), tmp_path / "a", options=kept)
    read = collect(format_.open(tmp_path / "a"))
    report = format_.write(InMemory(read), tmp_path / "b", options=kept)
    again = collect(format_.open(tmp_path / "b"))
    assert_bounds(format_, kept, read if report.order is None else read[report.order], again)
    if isinstance(format_, SplatFormat | CompressedPlyFormat):
        first, second = (tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()
        differing = sum(x != y for x, y in zip(first, second, strict=True))
        assert differing <= len(first) // 50  # last bits of floats and of ties


@dataclass(frozen=True)
class _Breaks(View):
    """A source whose disk fails half way."""

    frame: str = "RDF"

    def chunks(self, rows: int = 64) -> Iterator[Gaussians]:
        yield from list(self.source.chunks(64))[:2]
        raise OSError("the disk is gone")


@pytest.mark.parametrize(("format_", "options"), WRITERS, ids=IDS)
def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, format_, options):
    path = tmp_path / "scene"
    scene = InMemory(random_gaussians(400, 1))
    format_.write(scene, path, options=options)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        format_.write(scene, path, options=options)
    with pytest.raises(OSError, match="the disk is gone"):
        format_.write(_Breaks(scene), path, options=options, overwrite=True)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["scene"]


def test_blocks_are_compact_despite_strays():
    """One stray point stretches the box of its own block only."""
    from splats.formats.blocks import block_order

    points = np.random.default_rng(0).random((10_000, 3)).astype(np.float32)
    points[7] = 1e4
    order = block_order(points, BLOCK)
    assert sorted(order.tolist()) == list(range(len(points)))
    extents = [np.ptp(points[order[i : i + BLOCK]], axis=0).max() for i in range(0, 10_000, BLOCK)]
    assert sum(extent > 1 for extent in extents) == 1
    assert np.median(extents) < 0.5  # 0.47; a cube of a 40th of the volume has 0.29


def test_most_visible_gaussians_come_first_in_splat(tmp_path):
    scene = random_gaussians(500, 0)
    SplatFormat().write(InMemory(scene), tmp_path / "a.splat")
    read = collect(SplatFormat().open(tmp_path / "a.splat"))
    volumes = read.log_scales.double().sum(1).exp()
    most, least = (read.logit_opacities.sigmoid() + sign * 0.5 / 255 for sign in (1, -1))
    assert bool((most[:-1] * volumes[:-1] >= least[1:] * volumes[1:] * (1 - 1e-6)).all())


@pytest.mark.parametrize(
    ("name", "count", "degree"),
    [
        ("biker/biker.compressed.ply", 152_746, 0),
        ("toy-cat/scene.compressed.ply", 23_261, 3),
        ("fixtures/minimal.splat", 4, 0),
        ("fixtures/minimal.ksplat", 4, 0),
    ],
)
def test_files_of_other_programs(shared_data: Path, tmp_path, name, count, degree):
    path = shared_data / "splats" / name
    format_ = next(f for f, _ in WRITERS if name.endswith(f.suffixes[0]))
    scene = collect(format_.open(path))
    assert (len(scene), scene.sh_degree) == (count, degree)
    if isinstance(format_, CompressedPlyFormat):
        report = format_.write(
            InMemory(scene), tmp_path / "again", options=CompressedPlyOptions(reorder=False)
        )
        again = collect(format_.open(tmp_path / "again"))
        assert float((scene.means - again.means).abs().max()) < 1e-4
        assert torch.equal(scene.logit_opacities, again.logit_opacities)
        assert torch.equal(scene.shN, again.shN)
        assert report.num_bytes <= path.stat().st_size


@pytest.mark.parametrize("name", ["fixtures/minimal.splat", "fixtures/minimal.ksplat"])
def test_fixtures_hold_a_square_of_four(shared_data: Path, name):
    """As splat-transform's own tests describe them."""
    format_ = SplatFormat() if name.endswith(".splat") else KsplatFormat()
    scene = collect(format_.open(shared_data / "splats" / name))
    assert sorted(map(tuple, scene.means.tolist())) == [
        (-1, 0, -1),
        (-1, 0, 0),
        (0, 0, -1),
        (0, 0, 0),
    ]
    torch.testing.assert_close(scene.log_scales.exp(), torch.full((4, 3), 0.1))
    torch.testing.assert_close(scene.logit_opacities.sigmoid(), torch.full((4,), 230 / 255))


@pytest.mark.parametrize(("format_", "options"), WRITERS, ids=IDS)
def test_mutated_files_raise_value_errors_only(tmp_path, format_, options):
    path = tmp_path / "fuzz"
    format_.write(InMemory(random_gaussians(40, 1)), path, options=options)
    original = path.read_bytes()
    draw = random.Random(0)
    interesting = min(len(original), 5400)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(300):
        data = bytearray(original)
        for _ in range(draw.randint(1, 3)):
            place = draw.choice([draw.randrange(64), draw.randrange(interesting)])
            place = draw.choice(
                [place, draw.randrange(len(data)), min(4096 + place, len(data) - 1)]
            )
            action = draw.randrange(3)
            if action == 0:
                data[place] = draw.choice([0, 255, draw.randrange(256)])
            elif action == 1:
                data[place : place + 4] = draw.randbytes(4)
            else:
                del data[place : place + draw.randint(1, 40)]
        path.write_bytes(data)
        try:
            format_.summarize(path)
            collect(format_.open(path))
            outcomes["read"] += 1
        except ValueError as error:
            assert str(path) in str(error) and "byte" in str(error)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 20
