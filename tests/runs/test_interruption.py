"""A run that is killed, stopped or starved of disk goes on as if nothing had happened."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from pathlib import Path

import pytest

from runs import RunDirectory, load_checkpoint

from .conftest import TrainingProcesses
from .toy import CrashingToy, Interrupted
from .toy_run import INTERVAL, deliverables, run_toy, steps_done

MANY_STEPS = 1500


def wait_for_step(path: Path, step: int) -> None:
    """Return once the run has done `step` steps; fails after 20 seconds."""
    deadline = time.monotonic() + 20
    while steps_done(path) < step:
        assert time.monotonic() < deadline, f"{path} is stuck at step {steps_done(path)}"
        select.select([], [], [], 0.002)


def newest_step(path: Path) -> int:
    """Step of the newest readable checkpoint, 0 without one."""
    checkpoint = RunDirectory.open(path).latest_checkpoint if path.exists() else None
    return load_checkpoint(checkpoint).step if checkpoint else 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, processes: TrainingProcesses) -> Path:
    """The run that was never interrupted."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    processes.start(path, max_steps=MANY_STEPS)
    assert processes.wait() == 0
    return path


def test_twenty_kills_lose_at_most_one_interval_each(
    tmp_path: Path, whole: Path, processes: TrainingProcesses
) -> None:
    killed = tmp_path / "killed"
    moments = random.Random(1)
    for _ in range(20):
        before = newest_step(killed)
        pid = processes.start(killed, max_steps=MANY_STEPS)
        wait_for_step(killed, before + moments.randrange(1, 50))
        select.select([], [], [], moments.uniform(0.0, 0.004))
        os.kill(pid, signal.SIGKILL)
        assert processes.wait() == -signal.SIGKILL
        assert newest_step(killed) >= steps_done(killed) - INTERVAL
    processes.start(killed, max_steps=MANY_STEPS)
    assert processes.wait() == 0
    assert deliverables(killed) == deliverables(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_the_step_it_stopped_at(
    tmp_path: Path, whole: Path, processes: TrainingProcesses, number: signal.Signals
) -> None:
    stopped = tmp_path / "stopped"
    pid = processes.start(stopped, max_steps=MANY_STEPS)
    wait_for_step(stopped, 33)
    os.kill(pid, number)
    assert processes.wait() == 75
    assert 33 <= newest_step(stopped) == steps_done(stopped) < MANY_STEPS
    assert f"Stopped by {number.name}" in (stopped / "train.log").read_text()
    processes.start(stopped, max_steps=MANY_STEPS)
    assert processes.wait() == 0
    assert deliverables(stopped) == deliverables(whole)


def test_full_disk_keeps_the_earlier_checkpoints(
    tmp_path: Path, processes: TrainingProcesses
) -> None:
    whole, starved = tmp_path / "whole", tmp_path / "starved"
    run_toy(whole, max_steps=100, resume=False)
    with pytest.raises(Interrupted):
        run_toy(starved, max_steps=100, trainee=CrashingToy(45))
    limit = RunDirectory.open(starved).latest_checkpoint
    assert limit is not None
    processes.start(starved, max_steps=100, file_limit=limit.stat().st_size // 2)
    assert processes.wait() == 1
    report = processes.errors.read_text()
    assert "no room for the checkpoint" in report and "MB are free" in report
    names = sorted(file.name for file in (starved / "checkpoints").iterdir())
    assert names == ["step_00000020.pt", "step_00000040.pt"]
    run_toy(starved, max_steps=100)
    assert deliverables(starved)["scene.ply"] == deliverables(whole)["scene.ply"]
