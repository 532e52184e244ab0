"""SPZ: every value within half a step, files of others, hostile files, exact integers."""

from __future__ import annotations

import gzip
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from splats.formats import FormatError, InMemory, View, collect, load, open_source, summarize
from splats.formats.compare import rotation_errors
from splats.formats.spz import SpzFormat, SpzOptions, read_packed
from splats.formats.spz_container import SpzFile
from splats.formats.spz_quantization import MAX_FRACTIONAL_BITS, choose_fractional_bits
from splats.gaussians import Gaussians

from .scene_files import extreme_gaussians, random_gaussians
from .test_lossy_formats import scenes

SPZ = SpzFormat()
COLOR_LIMIT = 0.5 / 0.15


class Breaking(View):
    """A source that fails while its last chunk is read the second time."""

    passes = 0

    def chunks(self, rows: int = 1 << 16) -> Iterator[Gaussians]:
        type(self).passes += 1
        yield from self.source.chunks(rows)
        if self.passes > 1:
            raise OSError("the disk is gone")

    @property
    def frame(self) -> str:
        return self.source.frame


def write(scene: Gaussians, path: Path, **options: Any) -> Gaussians:
    """`scene` in the order of the file that it is written to."""
    chosen = SpzOptions(frame="RDF", **options)
    report = SPZ.write(InMemory(scene), path, options=chosen, overwrite=True)
    assert report.order is not None
    return scene[report.order]


def assert_within_steps(scene: Gaussians, path: Path) -> None:
    header, read = SpzFile(path).header, collect(SPZ.open(path))
    rounding = 4e-7 * scene.means.abs().amax()
    step = 2.0**-header.fractional_bits
    assert float((scene.means.double() - read.means).abs().max()) <= step / 2 + rounding
    opacity_error = scene.logit_opacities.sigmoid() - read.logit_opacities.sigmoid()
    assert float(opacity_error.abs().max()) <= 0.5 / 255 + 2e-6
    held = scene.log_scales.clamp(-10, 255 / 16 - 10)
    assert float((held - read.log_scales).abs().max()) <= 0.5 / 16 + 1e-5
    colors = scene.sh0.clamp(-COLOR_LIMIT, COLOR_LIMIT)
    assert float((colors - read.sh0).abs().max()) <= 0.5 / 255 / 0.15 + 1e-5
    if header.version > 2:
        assert float(rotation_errors(scene.quats, read.quats).max()) < 0.28
    harmonics = (scene.shN.clamp(-1, 127 / 128) - read.shN).abs()
    if harmonics.numel():
        assert float(harmonics[:, :3].max()) <= 4 / 128
        assert harmonics.shape[1] == 3 or float(harmonics[:, 3:].max()) <= 8 / 128


@pytest.mark.parametrize("version", [2, 3, 4])
@given(scene=scenes())
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_values_stay_within_half_a_step(tmp_path: Path, version: int, scene: Gaussians) -> None:
    ordered = write(scene, tmp_path / "a.spz", version=version)
    assert_within_steps(ordered, tmp_path / "a.spz")


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_extreme_scenes_survive(tmp_path: Path, degree: int) -> None:
    ordered = write(extreme_gaussians(degree), tmp_path / "a.spz")
    assert_within_steps(ordered, tmp_path / "a.spz")
    assert summarize(tmp_path / "a.spz").sh_degree == degree


@pytest.mark.parametrize("version", [2, 3, 4])
def test_integers_come_back_exactly(tmp_path: Path, version: int) -> None:
    first, second = tmp_path / "a.spz", tmp_path / "b.spz"
    write(random_gaussians(3000, 3), first, version=version)
    bits = SpzFile(first).header.fractional_bits
    write(collect(SPZ.open(first)), second, version=version, fractional_bits=bits)
    a, b = read_packed(first), read_packed(second)
    for name in ("positions", "alphas", "colors", "scales", "sh"):
        assert (getattr(a, name) == getattr(b, name)).all(), name


def test_chunks_of_any_size_are_the_same_gaussians(tmp_path: Path) -> None:
    for version in (3, 4):
        write(random_gaussians(1000, 1), tmp_path / "a.spz", version=version)
        source = SPZ.open(tmp_path / "a.spz")
        whole = collect(source)
        parts = torch.cat([chunk.shN for chunk in source.chunks(333)])
        assert torch.equal(parts, whole.shN)
        assert [len(chunk) for chunk in source.chunks(333)] == [333, 333, 333, 1]


def test_writing_is_deterministic_and_keeps_the_antialiasing_flag(tmp_path: Path) -> None:
    source = InMemory(random_gaussians(500, 2), antialiased=True)
    for version in (3, 4):
        options = SpzOptions(version=version)
        SPZ.write(source, tmp_path / "a.spz", options=options, overwrite=True)
        SPZ.write(source, tmp_path / "b.spz", options=options, overwrite=True)
        assert (tmp_path / "a.spz").read_bytes() == (tmp_path / "b.spz").read_bytes()
        assert open_source(tmp_path / "a.spz").antialiased


def test_frames_are_written_down_and_read(tmp_path: Path) -> None:
    scene = random_gaussians(50, 3)
    for frame in ("RUB", "RDF", "LUF"):
        path = tmp_path / f"{frame}.spz"
        options = SpzOptions(frame=frame, sh1_bits=8, sh_rest_bits=8)
        report = SPZ.write(InMemory(scene), path, options=options)
        assert report.order is not None
        assert summarize(path).frame == frame
        back = load(path)
        torch.testing.assert_close(back.means, scene.means[report.order], rtol=0, atol=2e-4)
        assert float(rotation_errors(back.quats, scene.quats[report.order]).max()) < 0.28
        torch.testing.assert_close(back.shN, scene.shN[report.order], rtol=0, atol=0.01)


def test_the_position_step_follows_the_scene() -> None:
    assert choose_fractional_bits(100.0, 0.1) == 12
    assert choose_fractional_bits(0.3, 1e-5) == MAX_FRACTIONAL_BITS
    assert choose_fractional_bits(0.3, 1e-4) == 17
    assert choose_fractional_bits(2047.9, 0.1) == 12
    assert choose_fractional_bits(2048.0, 0.1) == 11
    with pytest.raises(ValueError, match="move or scale"):
        choose_fractional_bits(1e7, 0.1)


def test_far_coordinates_never_wrap(tmp_path: Path) -> None:
    scene = random_gaussians(10, 0)
    scene.means[0, 0] = 2048.5
    with pytest.raises(ValueError, match="fractional_bits"):
        write(scene, tmp_path / "a.spz", fractional_bits=12)
    assert not list(tmp_path.iterdir())
    assert_within_steps(write(scene, tmp_path / "a.spz"), tmp_path / "a.spz")


def test_what_spz_cannot_hold_is_said(tmp_path: Path) -> None:
    scene = random_gaussians(10, 0)
    scene.log_scales[0, 0] = -12
    report = SPZ.write(InMemory(scene), tmp_path / "a.spz")
    assert report.notes == ("1 values of log_scales beyond [-10.03, 5.969] were clamped.",)
    with pytest.raises(ValueError, match="at least one"):
        SPZ.write(InMemory(scene[:0]), tmp_path / "b.spz")
    with pytest.raises(ValueError, match="degree 3"):
        write(random_gaussians(5, 4), tmp_path / "b.spz", version=3)
    scene.means[3, 1] = float("nan")
    with pytest.raises(ValueError, match="`means`"):
        SPZ.write(InMemory(scene), tmp_path / "b.spz")
    with pytest.raises(FileExistsError):
        SPZ.write(InMemory(random_gaussians(5, 0)), tmp_path / "a.spz")


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk"):
        options = SpzOptions(frame="RDF")
        SPZ.write(Breaking(InMemory(random_gaussians(9, 0))), tmp_path / "a.spz", options=options)
    assert not list(tmp_path.iterdir())


def test_version_4_needs_zstandard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ImportError, match=r"fieldwright\[codecs\]"):
        write(random_gaussians(5, 0), tmp_path / "a.spz")
    write(random_gaussians(5, 0), tmp_path / "a.spz", version=3)
    assert len(load(tmp_path / "a.spz")) == 5


def test_biker_agrees_with_its_compressed_ply(shared_data: Path) -> None:
    """The same Gaussians in the same order, written by other programs in two formats."""
    spz = load(shared_data / "splats/biker/biker.spz")
    ply = load(shared_data / "splats/biker/biker.compressed.ply")
    assert len(spz) == len(ply) == 152746
    assert float((spz.means - ply.means).abs().max()) <= 0.5 * 2**-12 + 1e-6
    assert float(rotation_errors(spz.quats, ply.quats).median()) < 0.12
    held = ply.log_scales.clamp(-10, 5.9375)
    assert float((spz.log_scales - held).abs().max()) <= 0.5 / 16 + 1e-5


def test_we_write_less_than_the_reference_at_no_loss(tmp_path: Path, shared_data: Path) -> None:
    theirs = shared_data / "splats/biker/biker.spz"
    source = open_source(theirs)
    report = SPZ.write(source, tmp_path / "a.spz")
    assert report.num_bytes < 0.95 * theirs.stat().st_size
    assert report.order is not None
    a, b = read_packed(theirs)[report.order.numpy()], read_packed(tmp_path / "a.spz")
    for name in ("positions", "alphas", "colors", "scales"):
        assert (getattr(a, name) == getattr(b, name)).all(), name


@pytest.mark.parametrize(
    ("name", "version"), [("raw", 2), ("v2", 2), ("v3", 3), ("v4", 4)], ids=str
)
def test_fixtures_of_splat_transform_read(shared_data: Path, name: str, version: int) -> None:
    path = shared_data / f"splats/fixtures/minimal-{name}.spz"
    packed = read_packed(path)
    assert (packed.version, len(packed)) == (version, 4)
    means = collect(open_source(path)).means
    assert sorted(means.abs().sum(1).tolist()) == [0, 1, 1, 2]


def test_extensions_of_others_are_skipped(tmp_path: Path) -> None:
    write(random_gaussians(5, 1), tmp_path / "a.spz", version=3)
    body = bytearray(gzip.decompress((tmp_path / "a.spz").read_bytes()))
    records = struct.pack("<II3f", 0xADBE0002, 12, 0, 1, 2) + struct.pack("<III", 0x12345678, 4, 9)
    (tmp_path / "b.spz").write_bytes(gzip.compress(bytes(body) + records))
    kinds = [kind for kind, _ in SpzFile(tmp_path / "b.spz").extensions]
    assert {0xADBE0002, 0x12345678} <= set(kinds)
    assert torch.equal(load(tmp_path / "a.spz").shN, load(tmp_path / "b.spz").shN)


def test_counts_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    for version, offset in ((3, 8), (4, 8)):
        path = tmp_path / f"{version}.spz"
        write(random_gaussians(5, 0), path, version=version)
        data = path.read_bytes()
        body = bytearray(data if version == 4 else gzip.decompress(data))
        struct.pack_into("<I", body, offset, 0xFFFFFFF0)
        path.write_bytes(bytes(body) if version == 4 else gzip.compress(bytes(body)))
        with pytest.raises(FormatError, match=r"byte 8: `numPoints`"):
            load(path)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_damaged_files_raise_and_never_crash(tmp_path: Path, version: int) -> None:
    path = tmp_path / "a.spz"
    write(random_gaussians(40, 1), path, version=version)
    good = path.read_bytes()
    choose = random.Random(version)
    for length in [*range(0, len(good), max(1, len(good) // 60)), len(good) - 1]:
        path.write_bytes(good[:length])
        with pytest.raises(FormatError, match="byte"):
            load(path)
    for _ in range(200):
        bad = bytearray(good)
        for _ in range(choose.choice([1, 1, 2, 8])):
            bad[choose.randrange(len(bad) if choose.random() < 0.6 else 48)] = choose.randrange(256)
        path.write_bytes(bytes(bad))
        try:
            load(path)
        except FormatError as error:
            assert str(path) in str(error)
