"""Exact resume: a run in several sessions equals one in a single session bit for bit."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from runs import (
    Budget,
    CorruptCheckpointError,
    latest_checkpoint,
    random_state,
    read_metrics,
    restore_random_state,
)

from .toy import CrashingToy, Interrupted
from .toy_run import deliverables, run_toy

STEPS = 160


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never interrupted."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    run_toy(path, max_steps=STEPS, resume=False)
    return path


@pytest.mark.parametrize("crashes", [(1,), (20,), (49,), (50,), (121,), (21, 60, 99, 159)])
def test_crashed_run_resumes_bit_for_bit(
    tmp_path: Path, whole: Path, crashes: tuple[int, ...]
) -> None:
    path = tmp_path / "crashed"
    for crash_at in crashes:
        with pytest.raises(Interrupted):
            run_toy(path, max_steps=STEPS, trainee=CrashingToy(crash_at))
    summary = run_toy(path, max_steps=STEPS)
    assert summary.steps == STEPS
    assert deliverables(path) == deliverables(whole)
    assert_equal_states(path, whole)


def assert_equal_states(path: Path, other: Path) -> None:
    """Optimizer moments and generators agree, not only the weights."""
    first, second = (latest_checkpoint(run / "checkpoints") for run in (path, other))
    assert first is not None and second is not None
    assert first.step == second.step
    torch.testing.assert_close(
        [first.trainee["weights"], first.trainee["optimizer"]["state"], first.random["torch"]],
        [second.trainee["weights"], second.trainee["optimizer"]["state"], second.random["torch"]],
        rtol=0,
        atol=0,
    )


def test_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    run_toy(tmp_path / "run", max_steps=30, resume=False)
    before = deliverables(tmp_path / "run")
    assert run_toy(tmp_path / "run", max_steps=30).steps == 30
    assert deliverables(tmp_path / "run") == before


def test_metrics_hold_every_due_step_once(whole: Path) -> None:
    steps = [row["step"] for row in read_metrics(whole / "metrics.jsonl")]
    due = {*range(7, STEPS, 7), *range(30, STEPS, 30), STEPS}
    assert steps == sorted(due)


def test_damaged_newest_checkpoint_falls_back(
    tmp_path: Path, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run"
    with pytest.raises(Interrupted):
        run_toy(path, max_steps=STEPS, trainee=CrashingToy(85))
    newest = path / "checkpoints" / "step_00000080.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.raises(Interrupted):  # before the next checkpoint
        run_toy(path, max_steps=STEPS, trainee=CrashingToy(65))
    assert "step_00000080.pt is not a complete checkpoint" in caplog.text
    run_toy(path, max_steps=STEPS)
    assert deliverables(path)["scene.ply"] == deliverables(whole)["scene.ply"]
    names = sorted(file.name for file in newest.parent.iterdir())
    assert names == ["step_00000140.pt", "step_00000160.pt"]


def test_only_damaged_checkpoints_is_an_error(tmp_path: Path) -> None:
    run_toy(tmp_path / "run", max_steps=40, resume=False)
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.write_bytes(b"nothing of value")
    with pytest.raises(CorruptCheckpointError, match="all 2 checkpoints"):
        run_toy(tmp_path / "run", max_steps=80)


def test_seconds_count_over_sessions(tmp_path: Path) -> None:
    long, short = (Budget(max_steps=10**9, max_seconds=seconds) for seconds in (0.4, 0.2))
    first = run_toy(tmp_path / "run", max_steps=1, resume=False, budget=long)
    again = run_toy(tmp_path / "run", max_steps=1, budget=short)
    assert again.steps == first.steps > 0


def test_generators_continue_where_they_were() -> None:
    def draw() -> tuple[float, ...]:
        return (
            torch.rand(()).item(),
            np.random.rand(),
            np.random.normal(),
            random.random(),
            random.gauss(),
        )

    draw()  # leaves a cached second Gaussian in numpy's and Python's generator
    state = random_state()
    expected = [draw() for _ in range(5)]
    restore_random_state(state)
    assert [draw() for _ in range(5)] == expected
