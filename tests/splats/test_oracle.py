"""Our files in other programs and theirs in ours: splat-transform and the Khronos validator.

They come from npm by `make oracle`; without them these tests skip.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from splats.formats import InMemory, collect, find_format, formats, load, open_source, save
from splats.formats.spz import SpzOptions
from splats.gaussians import Gaussians

from .scene_files import assert_alike, random_gaussians

ORACLE = Path(__file__).resolve().parent.parent / "oracle"
MODULES = ORACLE / "node_modules"

# Each program's float32 exp, log and square root differ in the last place.
ROUNDING = 3e-6


def node(*arguments: object, package: str) -> str:
    """Standard output of a Node program; skips where Node or its package is missing."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    if not (MODULES / package).is_dir():
        pytest.skip(f"{package} is not installed: run make oracle")
    command = ["node", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    return done.stdout


def transform(source: Path, target: Path, *flags: str) -> Path:
    """`target` as splat-transform writes it from `source`."""
    package = "@playcanvas/splat-transform"
    program = MODULES / package / "bin" / "cli.mjs"
    node(program, "-q", "-w", "-g", "cpu", *flags, source, target, package=package)
    return target


def scene(degree: int, count: int = 300) -> Gaussians:
    """Without values that one of the programs drops or clamps before writing."""
    gaussians = random_gaussians(count, degree, seed=degree)
    gaussians.logit_opacities.clamp_(-4, 4)
    gaussians.sh0.clamp_(-1.7, 1.7)
    gaussians.shN.clamp_(-0.9, 0.9)
    return gaussians


@pytest.mark.parametrize("degree", [0, 2, 3])
@pytest.mark.parametrize("ending", ["ply", "compressed.ply", "splat", "ksplat", "spz", "sog"])
def test_it_reads_our_files_as_we_do(tmp_path: Path, ending: str, degree: int) -> None:
    """Its PLY of our file holds the numbers that our own reader finds in it."""
    path = tmp_path / f"a.{ending}"
    # splat-transform takes the numbers of SPZ files as they are, whatever axes are declared.
    options = SpzOptions(frame="RDF") if ending == "spz" else None
    save(scene(degree), path, options=options)
    theirs = load(transform(path, tmp_path / "theirs.ply"))
    ours = load(path)
    if ours.sh_degree > theirs.sh_degree:
        pytest.fail(f"it reads degree {theirs.sh_degree} of {ours.sh_degree}")
    # It decodes the rotation bytes of .splat as b / 127.5 - 1; the encoder wrote 128 + 128 q.
    shape = 0.05 if ending == "splat" else None
    assert_alike(ours, theirs, tolerance=ROUNDING, shape=shape)


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("a.compressed.ply", ()),
        ("a.spz", ("--spz-version", "3")),
        ("a.spz", ("--spz-version", "4")),
        pytest.param("a.sog", ("-i", "1"), marks=pytest.mark.slow),
        pytest.param("meta.json", ("-i", "1"), marks=pytest.mark.slow),
    ],
)
def test_we_read_its_files_as_it_does(
    tmp_path: Path, name: str, flags: tuple[str, ...], degree: int
) -> None:
    """What it reads from its own file, written as PLY, is what we read from that file."""
    save(scene(degree), tmp_path / "scene.ply")
    path = transform(tmp_path / "scene.ply", tmp_path / name, *flags)
    theirs = load(transform(path, tmp_path / "theirs.ply"))
    frame = "RDF" if name.endswith(".spz") else None
    ours = load(path, frame=frame)
    assert ours.sh_degree == degree
    assert_alike(ours, theirs, tolerance=ROUNDING)


@pytest.mark.parametrize("degree", [0, 3])
def test_its_ply_and_glb_hold_the_scene(tmp_path: Path, degree: int) -> None:
    original = scene(degree)
    save(original, tmp_path / "scene.ply")
    again = load(transform(tmp_path / "scene.ply", tmp_path / "again.ply"))
    assert torch.equal(again.means, original.means) and torch.equal(again.shN, original.shN)
    assert_alike(load(transform(tmp_path / "scene.ply", tmp_path / "a.glb")), original)


@pytest.mark.slow
def test_its_levels_of_detail_are_read(tmp_path: Path) -> None:
    """A streamed SOG of two levels that it wrote; we read the finest."""
    save(scene(1, 600), tmp_path / "fine.ply")
    save(scene(1, 150), tmp_path / "coarse.ply")
    target = tmp_path / "lod" / "lod-meta.json"
    target.parent.mkdir()
    arguments = ["-q", "-w", "-g", "cpu", "-i", "1", tmp_path / "fine.ply", "-l", "0"]
    arguments += [tmp_path / "coarse.ply", "-l", "1", target]
    package = "@playcanvas/splat-transform"
    node(MODULES / package / "bin" / "cli.mjs", *arguments, package=package)
    if not any(target.name in item.suffixes for item in formats().values()):
        pytest.skip("streamed SOG is not among the installed formats")
    assert open_source(target).num_primitives == 600


def validate(path: Path) -> dict[str, Any]:
    """The Khronos validator's report."""
    return json.loads(node(ORACLE / "validate_gltf.mjs", path, package="gltf-validator"))


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize("name", ["a.glb", "a.gltf"])
def test_the_khronos_validator_accepts_our_gltf(tmp_path: Path, name: str, degree: int) -> None:
    """It knows no KHR_gaussian_splatting and its attribute names yet, and has no other complaint.

    With these attributes renamed as custom ones it accepts the whole file.
    """
    save(scene(degree), tmp_path / name)
    report = validate(tmp_path / name)
    complaints = {
        (message["code"], message["pointer"].split("attributes/")[-1].split(":")[0])
        for message in report["issues"]["messages"]
    }
    assert complaints <= {
        ("MESH_PRIMITIVE_INVALID_ATTRIBUTE", "KHR_gaussian_splatting"),
        ("UNSUPPORTED_EXTENSION", "/extensionsUsed/0"),
    }
    assert not report["issues"]["truncated"]
    old, new = b'"KHR_gaussian_splatting:', b'"_'
    data = (tmp_path / name).read_bytes()
    end = data.index(b'"extensions"')
    # The same length: the spaces after the colons that JSON allows.
    text = data[:end]
    for part in set(text.split(old)[1:]):
        key = part.split(b'"')[0]
        text = text.replace(old + key + b'":', new + key + b'":' + b" " * (len(old) - len(new)))
    (tmp_path / f"renamed_{name}").write_bytes(text + data[end:])
    report = validate(tmp_path / f"renamed_{name}")
    assert report["issues"]["numErrors"] == report["issues"]["numWarnings"] == 0


def test_spark_knows_our_files(tmp_path: Path) -> None:
    """By their first bytes; it decodes in browsers only."""
    paths = [tmp_path / name for name in ("a.ply", "a.compressed.ply", "a.sog", "a.spz")]
    for path in paths:
        save(scene(1), path, options=SpzOptions(version=3) if path.suffix == ".spz" else None)
    found = node(ORACLE / "spark_type.mjs", *paths, package="@sparkjsdev/spark")
    assert json.loads(found.splitlines()[-1]) == ["ply", "ply", "pcsogszip", "spz"]


def test_frames_agree_between_the_formats_it_reads(tmp_path: Path) -> None:
    """One scene in its GLB (LUF) and in its PLY (RDF) is one scene to us."""
    original = scene(2)
    source = InMemory(original, frame="RDF")
    find_format(tmp_path / "a.ply").write(source, tmp_path / "a.ply")
    glb = open_source(transform(tmp_path / "a.ply", tmp_path / "a.glb"))
    assert glb.frame == "LUF"
    flipped = collect(glb)
    torch.testing.assert_close(flipped.means, original.means * torch.tensor([-1.0, -1, 1]))
