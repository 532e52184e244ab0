"""The capture verb: its summary, exit codes and one-line errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captures.reconstruction_report import ReconstructionReport
from scripts import capture
from scripts.main import main


def test_json_summary_has_the_promised_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reconstruct(
        source, out, options, *, overwrite, progress, check_matches
    ) -> ReconstructionReport:
        assert check_matches is None
        progress("Features", 0, None)
        progress("Mapping", 3, 4)
        return ReconstructionReport(4, 3, 250, 0.4, 3.5, ("d.jpg",), out)

    monkeypatch.setattr(capture, "from_images", reconstruct)
    out = tmp_path / "out"
    assert main(["capture", str(tmp_path), str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == {
        "num_images": 4,
        "num_registered": 3,
        "reprojection_error": 0.4,
        "num_points": 250,
        "output": str(out),
    }


def test_folder_without_images_is_one_line_and_exit_code_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycolmap")
    (tmp_path / "empty").mkdir()
    assert main(["capture", str(tmp_path / "empty"), str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err.strip()
    assert errors.startswith("Error:") and "holds 0 images" in errors
    assert "Traceback" not in errors
