"""`fieldwright convert` and `info` on splat files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.main import main
from splats.formats import load, save
from splats.gaussians import Gaussians


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A PLY file with 300 Gaussians of degree 1."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    gaussians = Gaussians(
        draw(300, 3), draw(300, 4), draw(300, 3) - 3, draw(300), draw(300, 1, 3), draw(300, 3, 3)
    )
    save(gaussians, tmp_path / "scene.ply")
    return tmp_path / "scene.ply"


def summary(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    """The JSON line of a command that succeeds."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_summary_has_the_promised_keys_and_a_picture_is_drawn(scene, tmp_path, capsys):
    out, picture = tmp_path / "out.compressed.ply", tmp_path / "views.png"
    done = summary(capsys, "convert", scene, out, "--views", 1, "--picture", picture)
    assert done["num_bytes"] == out.stat().st_size
    assert done["source_bytes"] == scene.stat().st_size
    assert (done["num_primitives"], done["output"]) == (300, str(out))
    assert 30 < done["render_psnr"] <= 100 and done["decode_seconds"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    content = summary(capsys, "info", out)
    assert (content["num_primitives"], content["frame"]) == (300, "RDF")
    assert (content["format"], content["sh_degree"]) == ("compressed-ply", 1)
    assert sum(content["sections"].values()) == content["num_bytes"]


def test_edits_and_transform_reach_the_file(scene, tmp_path, capsys):
    matrix = [[0, -2, 0, 5], [2, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
    flags = ["--transform", json.dumps(matrix), "--units", "m:cm", "--sh-degree", 0, "--views", 0]
    done = summary(capsys, "convert", scene, tmp_path / "a.ply", *flags, "--max-gaussians", 300)
    assert done["sh_degree"] == 0 and done["render_psnr"] is None
    before, after = load(scene).means, load(tmp_path / "a.ply").means
    expected = torch.stack([5 - 2 * before[:, 1], 2 * before[:, 0], 2 * before[:, 2]], dim=1)
    torch.testing.assert_close(after, 100 * expected)
    similarity = {"scale": 2, "rotation": [0.5**0.5, 0, 0, 0.5**0.5], "translation": [5, 0, 0]}
    flags[1] = str(tmp_path / "t.json")
    Path(flags[1]).write_text(json.dumps(similarity))
    summary(capsys, "convert", scene, tmp_path / "b.ply", *flags)
    torch.testing.assert_close(load(tmp_path / "b.ply").means, 100 * expected)


def test_options_and_format_name_choose_the_encoding(scene, tmp_path, capsys):
    sizes = []
    for level in (0, 1, 2):
        flags = ["--to", "ksplat", "--option", f"level={level}", "--views", 0]
        sizes.append(summary(capsys, "convert", scene, tmp_path / f"{level}", *flags)["num_bytes"])
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--units", "parsec"], "--units` must be a factor above 0"),
        (["--transform", "[[1, 0], [0, 1]]"], "must be a 4x4 matrix"),
        (["--transform", '{"turn": 3}'], "unknown keys"),
        (["--frame", "UP"], "one letter each of R/L, U/D and F/B"),
        (["--to", "zpz"], "did you mean spz"),
        (["--option", "level"], "must be NAME=VALUE"),
        (["--crop", "0", "0", "0", "0", "0", "0"], "`crop` must be the corners"),
    ],
)
def test_mistakes_are_one_clear_line(scene, tmp_path, capsys, flags, message):
    capsys.readouterr()
    assert main(["convert", str(scene), str(tmp_path / "x.splat"), *flags]) == 1
    text = " ".join(capsys.readouterr().err.split())
    assert message in text and "Traceback" not in text
    assert not (tmp_path / "x.splat").exists()


def test_outputs_are_kept_unless_told(scene, tmp_path, capsys):
    out = tmp_path / "x.splat"
    summary(capsys, "convert", scene, out, "--views", 0)
    assert main(["convert", str(scene), str(out), "--views", "0"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    summary(capsys, "convert", scene, out, "--views", 0, "--overwrite")
