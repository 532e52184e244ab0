"""Which folders a run may use, and what it leaves in them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from runs import RunDirectory, RunError


@dataclass(frozen=True)
class Settings:
    """Settings of a run."""

    rate: float = 0.1
    """Learning rate."""
    steps: int = 10
    """Length."""


def create(path: Path, settings: Settings | None = None, **options: Any) -> RunDirectory:
    """A run of the method toy."""
    return RunDirectory.create(path, method="toy", config=settings or Settings(), **options)


def test_config_is_found_again(tmp_path: Path) -> None:
    create(tmp_path / "a" / "b", Settings(rate=0.5))
    run = RunDirectory.open(tmp_path / "a" / "b")
    assert run.method == "toy"
    assert run.read_config(Settings) == Settings(rate=0.5)
    environment = json.loads(run.environment_file.read_text())
    assert environment.keys() >= {"python", "platform", "torch", "cpu", "cores", "git", "gpus"}


def test_foreign_folder_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    (tmp_path / "eval").mkdir()
    for overwrite, resume in ((False, False), (True, False), (False, True)):
        with pytest.raises(FileExistsError, match="is not empty"):
            create(tmp_path, overwrite=overwrite, resume=resume)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["eval", "thesis.tex"]


def test_existing_run_needs_a_decision(tmp_path: Path) -> None:
    create(tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"--resume or .* --overwrite"):
        create(tmp_path / "run")
    with pytest.raises(ValueError, match="exclude each other"):
        create(tmp_path / "run", overwrite=True, resume=True)


def test_overwrite_deletes_what_a_run_made_and_nothing_else(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    made = ["metrics.jsonl", "summary.json", "train.log", "scene.ply", "eval/0.png"]
    made += ["checkpoints/step_00000001.pt"]
    for name in [*made, "notes.txt"]:
        file = run.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("old")
    create(tmp_path / "run", Settings(steps=3), overwrite=True)
    left = sorted(file.name for file in run.path.iterdir())
    assert left == ["config.json", "environment.json", "notes.txt"]
    assert RunDirectory.open(run.path).read_config(Settings).steps == 3


def test_resume_keeps_to_the_first_settings(tmp_path: Path) -> None:
    path = tmp_path / "run"
    create(path, resume=True)  # nothing to resume yet: a start
    with pytest.raises(RunError, match=r"rate: 0.1 became 0.2"):
        create(path, Settings(rate=0.2), resume=True)
    longer = replace(Settings(), steps=99)
    with pytest.raises(RunError, match="steps: 10 became 99"):
        create(path, longer, resume=True)
    create(path, longer, resume=True, may_change=("steps",))
    assert RunDirectory.open(path).read_config(Settings) == longer
    with pytest.raises(RunError, match="a run of `toy`, not of `other`"):
        RunDirectory.create(path, method="other", config=longer, resume=True)


def test_unusable_folders_say_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not a run: config.json is missing"):
        RunDirectory.open(tmp_path)
    file = tmp_path / "config.json"
    for content, message in [
        ("{", "not readable as JSON"),
        ("{}", 'lacks "format"'),
        ('{"format": "fieldwright run", "version": 99}', "has version 99"),
    ]:
        file.write_text(content)
        with pytest.raises(RunError, match=message):
            RunDirectory.open(tmp_path)
    with pytest.raises(FileExistsError, match="must be a folder, found a file"):
        create(file)


def test_compressed_scene_comes_first(tmp_path: Path) -> None:
    run = create(tmp_path / "run")
    assert run.scene_file is None
    (run.path / "scene.ply").touch()
    assert run.scene_file == run.path / "scene.ply"
    (run.path / "scene.fwa").touch()
    assert run.scene_file == run.path / "scene.fwa"
