"""SOG: values within their steps, palettes, real scenes, levels of detail, hostile files."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from splats.formats import FormatError, InMemory, View, collect, load, open_source, summarize
from splats.formats.compare import rotation_errors
from splats.formats.hilbert import hilbert_order
from splats.formats.sog import SogFormat, SogOptions
from splats.formats.sog_archive import open_files
from splats.formats.sog_codebook import fit_codebook, nearest_levels
from splats.formats.sog_images import decode_image
from splats.formats.sog_lod import LodFormat, LodOptions, LodScene
from splats.formats.sog_merging import coverage, half_extents, merge_to
from splats.formats.sog_palette import fit_palette
from splats.gaussians import Gaussians

from .scene_files import extreme_gaussians, random_gaussians

SOG = SogFormat()


@dataclass(frozen=True)
class Breaking(View):
    """A source that fails at its end."""

    frame: str = "RDF"

    def chunks(self, rows: int = 1 << 16) -> Iterator[Gaussians]:
        yield from self.source.chunks(rows)
        raise OSError("the disk is gone")


def write(scene: Gaussians, path: Path, **options: Any) -> Gaussians:
    """`scene` in the order of the file that it is written to."""
    chosen = SogOptions(**options)
    report = SOG.write(InMemory(scene), path, options=chosen, overwrite=True)
    assert report.order is not None
    return scene[report.order]


def assert_nearest(values: torch.Tensor, read: torch.Tensor, table: np.ndarray) -> None:
    """`read` holds the levels of `table` nearest to `values`."""
    levels = np.unique(table.astype(np.float64))
    wanted = values.double().flatten().numpy()
    above = np.searchsorted(levels, wanted).clip(1, max(1, len(levels) - 1))
    pair = levels[np.stack([above - 1, np.minimum(above, len(levels) - 1)])]
    best = np.abs(pair - wanted).min(0)
    errors = np.abs(read.double().flatten().numpy() - wanted)
    assert (errors <= best + 1e-5 * (1 + np.abs(wanted))).all()


def assert_within_steps(scene: Gaussians, path: Path) -> None:
    source = SOG.open(path)
    meta, read = source.tables.meta, collect(source)

    def to_log(values: torch.Tensor) -> torch.Tensor:
        return values.double().sign() * values.double().abs().log1p()

    span = torch.from_numpy(meta.maxs - meta.mins)
    error = (to_log(scene.means) - to_log(read.means)).abs()
    assert bool((error <= span / 65535 / 2 + 1e-6).all())
    assert float(rotation_errors(scene.quats, read.quats).max()) < 1.1
    scales = scene.log_scales.clamp(-50, 50)
    for axis in range(3):
        assert_nearest(scales[:, axis], read.log_scales[:, axis], meta.scale_table[axis])
        assert_nearest(scene.sh0[:, 0, axis], read.sh0[:, 0, axis], meta.color_table[axis])
    if meta.version == 2:
        opacity = (scene.logit_opacities.sigmoid() - read.logit_opacities.sigmoid()).abs()
        assert float(opacity.max()) <= 0.5 / 255 + 2e-6
    else:
        logits = scene.logit_opacities.clamp(-13.8155, 13.8155)
        assert_nearest(logits, read.logit_opacities, meta.logit_table)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("count", [1, 5, 63, 257])
def test_small_scenes(tmp_path: Path, version: int, count: int) -> None:
    for degree in (0, 1, 3):
        scene = random_gaussians(count, degree, seed=count)
        ordered = write(scene, tmp_path / "a.sog", version=version)
        assert_within_steps(ordered, tmp_path / "a.sog")
        assert collect(SOG.open(tmp_path / "a.sog")).sh_degree == degree


@pytest.mark.parametrize("version", [1, 2])
def test_extreme_scenes_survive(tmp_path: Path, version: int) -> None:
    ordered = write(extreme_gaussians(3), tmp_path / "a.sog", version=version)
    assert_within_steps(ordered, tmp_path / "a.sog")


def test_folder_and_archive_hold_the_same(tmp_path: Path) -> None:
    scene = random_gaussians(300, 2)
    write(scene, tmp_path / "a.sog")
    write(scene, tmp_path / "folder/meta.json")
    a, b, c = (load(tmp_path / name) for name in ("a.sog", "folder", "folder/meta.json"))
    for name in ("means", "quats", "log_scales", "logit_opacities", "sh0", "shN"):
        assert torch.equal(getattr(a, name), getattr(b, name))
        assert torch.equal(getattr(b, name), getattr(c, name))
    before = (tmp_path / "a.sog").read_bytes()
    write(scene, tmp_path / "a.sog")
    assert before == (tmp_path / "a.sog").read_bytes()
    summary = summarize(tmp_path / "a.sog")
    assert sum(summary.sections.values()) == len(before)


def test_a_second_write_changes_no_value(tmp_path: Path) -> None:
    """256 values, and as many harmonics as the palette has room for, come back exactly."""
    write(random_gaussians(1200, 1), tmp_path / "a.sog")
    first = load(tmp_path / "a.sog")
    again = write(first, tmp_path / "b.sog")
    second = load(tmp_path / "b.sog")
    for name in ("log_scales", "logit_opacities", "sh0", "shN"):
        assert torch.equal(getattr(second, name), getattr(again, name)), name


def test_tags_survive(tmp_path: Path) -> None:
    scene = random_gaussians(20, 0)
    for source in (InMemory(scene, antialiased=True), InMemory(scene, model="2dgs")):
        SOG.write(source, tmp_path / "a.sog", overwrite=True)
        read = open_source(tmp_path / "a.sog")
        assert (read.antialiased, read.model) == (source.antialiased, source.model)


def test_larger_palettes_lose_less() -> None:
    x = random_gaussians(3000, 1).shN.flatten(1)
    errors = []
    for size in (1, 16, 256, 1024, 3000):
        palette = fit_palette(x, size)
        assert len(palette.entries) <= size
        errors.append(float(palette.search(x)[1].clamp(min=0).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6
    assert errors[2] < 0.5 * errors[0]


def test_codebooks_beat_even_spacing_and_keep_few_values_exactly() -> None:
    values = np.random.default_rng(0).normal(size=20000).astype(np.float32)
    levels = fit_codebook(values)
    error = np.square(levels[nearest_levels(values, levels)] - values).mean()
    step = (values.max() - values.min()) / 255
    assert error < 0.6 * step**2 / 12
    few = np.array([3.5, -2, 1e-3, 77], np.float32)
    levels = fit_codebook(np.repeat(few, 9))
    assert (levels[nearest_levels(few, levels)] == few).all()


def test_the_hilbert_curve_visits_neighbors() -> None:
    side = 8
    points = np.stack(np.meshgrid(*[np.arange(side)] * 3), -1).reshape(-1, 3).astype(np.float32)
    order = hilbert_order(points)
    assert sorted(order.tolist()) == list(range(side**3))
    assert np.abs(np.diff(points[order], axis=0)).sum(1).max() <= 2


def test_what_sog_cannot_hold_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 to"):
        SOG.write(InMemory(random_gaussians(0, 0)), tmp_path / "a.sog")
    with pytest.raises(ValueError, match="degree 3"):
        SOG.write(InMemory(random_gaussians(5, 4)), tmp_path / "a.sog")
    scene = random_gaussians(5, 0)
    scene.quats[2, 1] = float("nan")
    with pytest.raises(ValueError, match="`quats`"):
        SOG.write(InMemory(scene), tmp_path / "a.sog")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.sog", "folder/meta.json"])
def test_an_interrupted_write_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match="disk"):
        SOG.write(Breaking(InMemory(random_gaussians(9, 1))), tmp_path / name)
    assert not [item for item in tmp_path.rglob("*") if item.is_file()]


def test_playbot_reads_and_is_written_smaller(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "splats/playbot_sog_lod/3_0"
    scene = load(folder)
    assert (len(scene), scene.sh_degree) == (31000, 2)
    report = SOG.write(InMemory(scene), tmp_path / "a.sog")
    assert report.num_bytes < sum(item.stat().st_size for item in folder.iterdir())
    assert report.order is not None
    read = load(tmp_path / "a.sog")
    expected = scene[report.order]
    for name in ("log_scales", "logit_opacities", "sh0"):
        assert torch.equal(getattr(read, name), getattr(expected, name)), name


def test_playbot_has_seven_levels(shared_data: Path) -> None:
    scene = LodScene(shared_data / "splats/playbot_sog_lod")
    counts = [scene.level(index).num_primitives for index in range(scene.num_levels)]
    assert counts == [500000, 250000, 125000, 31000, 8406, 3000, 1873]
    coarse = collect(scene.level(6))
    assert len(coarse) == 1873
    low = torch.tensor([-1.033496, -1.083135, -1.039343])
    assert bool((coarse.means >= low).all())


def leaves(node: dict) -> Iterator[dict]:
    for child in node.get("children", []):
        yield from leaves(child)
    if "lods" in node:
        yield node


def test_levels_of_detail_are_written_and_read(tmp_path: Path) -> None:
    scene = random_gaussians(4000, 1)
    options = LodOptions(levels=3, rows_per_leaf=1500)
    report = LodFormat().write(InMemory(scene), tmp_path / "scene/lod-meta.json", options=options)
    assert report.order is not None and len(report.order.unique()) == 4000
    read = open_source(tmp_path / "scene")
    expected = scene[report.order]
    torch.testing.assert_close(collect(read).means, expected.means, rtol=0, atol=1e-3)
    opened = LodScene(tmp_path / "scene")
    counts = [opened.level(index).num_primitives for index in range(3)]
    assert counts == [4000, 2000, 1000]
    meta = json.loads((tmp_path / "scene/lod-meta.json").read_text())
    assert (meta["counts"], meta["count"], meta["lodLevels"]) == (counts, 7000, 3)
    assert len(meta["filenames"]) > 3
    for leaf in leaves(meta["tree"]):
        low, high = (
            torch.tensor(leaf["bound"][end]) - sign for end, sign in (("min", 0.05), ("max", -0.05))
        )
        for run in leaf["lods"].values():
            unit = load(tmp_path / "scene" / meta["filenames"][run["file"]])
            rows = unit[run["offset"] : run["offset"] + run["count"]]
            assert bool(((rows.means >= low) & (rows.means <= high)).all())


def test_merging_keeps_mass_and_moments() -> None:
    scene = random_gaussians(2000, 1)
    scene = Gaussians(
        scene.means, scene.quats, scene.log_scales, scene.logit_opacities - 2, scene.sh0, scene.shN
    )
    fewer = merge_to(scene, 700)
    assert len(fewer) == 700
    before, after = coverage(scene), coverage(fewer)
    torch.testing.assert_close(after.sum(), before.sum(), rtol=0.02, atol=0)
    centers = [
        (w[:, None] * s.means).sum(0) / w.sum() for w, s in ((before, scene), (after, fewer))
    ]
    torch.testing.assert_close(*centers, rtol=0, atol=0.02)
    assert bool((half_extents(fewer) > 0).all())
    with pytest.raises(ValueError, match="at least 1"):
        merge_to(scene, 0)


def test_two_equal_gaussians_merge_into_their_like() -> None:
    one = random_gaussians(1, 2)
    both = one[torch.tensor([0, 0])]
    merged = merge_to(both, 1)
    torch.testing.assert_close(merged.means, one.means)
    torch.testing.assert_close(merged.shN, one.shN)
    sides = merged.log_scales.sort(1).values, one.log_scales.sort(1).values
    torch.testing.assert_close(*sides, rtol=0, atol=1e-4)


def test_damaged_archives_raise_and_never_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.sog"
    write(random_gaussians(40, 1), path)
    good = path.read_bytes()
    choose = random.Random(0)
    for length in range(0, len(good), len(good) // 25):
        path.write_bytes(good[:length])
        with pytest.raises(FormatError, match="byte"):
            load(path)
    for _ in range(80):
        bad = bytearray(good)
        for _ in range(choose.choice([1, 2, 8])):
            bad[choose.randrange(len(bad))] = choose.randrange(256)
        path.write_bytes(bytes(bad))
        try:
            load(path)
        except FormatError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 10**9),
        ("count", -1),
        ("count", True),
        ("version", 3),
        ("means", {"mins": [0, 0, 1e400], "maxs": [1, 1, 1], "files": ["a", "b"]}),
        ("scales", {"codebook": [0.0], "files": ["scales.webp"]}),
        ("scales", {"codebook": ["x"] * 256, "files": ["scales.webp"]}),
        ("quats", {"files": ["../../secret.webp"]}),
        ("quats", {"files": [7]}),
        ("shN", {"count": 1 << 20, "bands": 9, "codebook": [0.0] * 256, "files": ["a", "b"]}),
        ("sh0", None),
    ],
)
def test_absurd_metadata_is_named(tmp_path: Path, field: str, value: object) -> None:
    write(random_gaussians(40, 1), tmp_path / "meta.json")
    meta = json.loads((tmp_path / "meta.json").read_text())
    meta[field] = value
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(FormatError, match=f"{field}|files"):
        load(tmp_path)


def test_bombs_are_refused(tmp_path: Path) -> None:
    write(random_gaussians(40, 1), tmp_path / "a.sog")
    bomb = tmp_path / "b.sog"
    with zipfile.ZipFile(tmp_path / "a.sog") as old, zipfile.ZipFile(bomb, "w") as new:
        for name in old.namelist():
            if name == "quats.webp":
                new.writestr(name, bytes(50_000_000), zipfile.ZIP_DEFLATED)
            else:
                new.writestr(name, old.read(name))
    with pytest.raises(FormatError, match="at most"):
        load(bomb)


@pytest.mark.parametrize(
    ("offset", "size", "value", "field"),
    [
        (20, 4, 3 << 30, "compress_size"),
        (24, 4, 3 << 30, "file_size"),
        (10, 2, 14, "compress_type"),
    ],
)
def test_entries_are_refused_before_room_is_made_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, size: int, value: int, field: str
) -> None:
    """Python's reader asks for as many bytes as the directory of the archive announces."""
    write(random_gaussians(40, 1), tmp_path / "a.sog")
    data = bytearray((tmp_path / "a.sog").read_bytes())
    entry = data.rindex(b"PK\x01\x02")  # of the last file in the directory, meta.json
    data[entry + offset : entry + offset + size] = value.to_bytes(size, "little")
    (tmp_path / "a.sog").write_bytes(data)
    monkeypatch.setattr("zipfile.ZipFile.read", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(FormatError, match="expected") as caught:
        load(tmp_path / "a.sog")
    assert caught.value.field == f"meta.json: {field}"


@pytest.mark.parametrize("kind", [b"VP8L", b"VP8X", b"VP8 "])
def test_announced_canvases_are_refused_before_a_decoder_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    """Pillow allocates twice the canvas on opening, half a gigabyte here."""
    side = 10_000
    body = {
        b"VP8L": b"\x2f" + ((side - 1) | (side - 1) << 14).to_bytes(4, "little") + bytes(5),
        b"VP8X": bytes(4) + 2 * (side - 1).to_bytes(3, "little"),
        b"VP8 ": bytes(6) + 2 * side.to_bytes(2, "little"),
    }[kind]
    image = b"RIFF" + (22).to_bytes(4, "little") + b"WEBP" + kind + len(body).to_bytes(4, "little")
    (tmp_path / "quats.webp").write_bytes(image + body)
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("it was opened"))
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(FormatError, match=f"{side} x {side}") as caught:
        decode_image(open_files(tmp_path / "meta.json"), "quats.webp", max_texels=1 << 16)
    assert caught.value.field == "size"


def test_rows_beyond_a_file_of_levels_are_refused(tmp_path: Path) -> None:
    options = LodOptions(levels=2)
    LodFormat().write(
        InMemory(random_gaussians(50, 0)), tmp_path / "lod-meta.json", options=options
    )
    meta = json.loads((tmp_path / "lod-meta.json").read_text())
    for bad in ({"file": 9}, {"offset": 1}, {"count": 51}, {"count": "x"}):
        tree = json.loads(json.dumps(meta["tree"]))
        next(leaves(tree))["lods"]["0"].update(bad)
        (tmp_path / "lod-meta.json").write_text(json.dumps({**meta, "tree": tree}))
        with pytest.raises(FormatError, match="lod-meta"):
            load(tmp_path / "lod-meta.json")
