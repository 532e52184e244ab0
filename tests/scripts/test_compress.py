"""`fieldwright compress`: its summary, its target, its refusals."""

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
    """A PLY file with 800 Gaussians of degree 1."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    gaussians = Gaussians(
        normal(800, 3), normal(800, 4), normal(800, 3) - 3, normal(800), normal(800, 1, 3),
        0.1 * normal(800, 3, 3),
    )  # fmt: skip
    save(gaussians, tmp_path / "scene.ply")
    return tmp_path / "scene.ply"


def summary(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    """The JSON line of a command that succeeds."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_summary_has_the_promised_keys_and_the_size_is_met(scene, tmp_path, capsys):
    out = tmp_path / "small.fwa"
    done = summary(capsys, "compress", scene, out, "--target-size", 9000)
    assert 0.98 * 9000 <= out.stat().st_size == done["num_bytes"] <= 9000
    assert done["source_bytes"] == scene.stat().st_size and done["output"] == str(out)
    assert done["num_primitives"] == len(load(out)) <= 800
    assert 15 < done["render_psnr"] <= 100
    assert done["encode_seconds"] > 0 and done["decode_seconds"] > 0
    content = summary(capsys, "info", out)
    assert content["num_primitives"] == done["num_primitives"] and content["frame"] == "RDF"


def test_other_endings_existing_files_and_two_goals_are_refused(scene, tmp_path, capsys):
    assert main(["compress", str(scene), str(tmp_path / "a.spz")]) == 1
    assert ".fwa" in capsys.readouterr().err
    (tmp_path / "a.fwa").write_bytes(b"mine")
    assert main(["compress", str(scene), str(tmp_path / "a.fwa")]) == 1
    assert (tmp_path / "a.fwa").read_bytes() == b"mine"
    flags = ["--target-size", "9000", "--quality", "0.1"]
    assert main(["compress", str(scene), str(tmp_path / "b.fwa"), *flags]) == 1
    assert "not both" in capsys.readouterr().err
