"""What the loop does around the steps: stops, logs, viewers and its own cost."""

from __future__ import annotations

import io
import math
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from runs import (
    Budget,
    Cadence,
    NonFiniteLossError,
    Trainee,
    make_progress,
    read_metrics,
    set_num_threads,
)
from runs.watch import find_nan

from .conftest import REPOSITORY
from .toy import ToyTrainee
from .toy_run import run_toy


def test_toy_is_a_trainee() -> None:
    assert isinstance(ToyTrainee(), Trainee)


@pytest.mark.parametrize("nan_at", [0, 45, 58])
def test_nan_loss_names_its_step_and_the_last_finite_checkpoint(
    tmp_path: Path, nan_at: int
) -> None:
    with pytest.raises(NonFiniteLossError, match=rf"not finite in step {nan_at + 1};") as caught:
        run_toy(tmp_path / "run", max_steps=100, trainee=ToyTrainee(nan_at=nan_at))
    names = sorted(file.name for file in (tmp_path / "run").glob("checkpoints/*"))
    assert names == ([] if nan_at == 0 else ["step_00000020.pt", "step_00000040.pt"])
    assert (names[-1] if names else "there is no checkpoint yet") in str(caught.value)


def test_nan_in_the_state_is_never_saved(tmp_path: Path) -> None:
    class Poisoned(ToyTrainee):
        def state_dict(self) -> dict[str, Any]:
            return {
                "groups": [{"means": torch.tensor([math.inf]), "quats": torch.tensor(math.nan)}]
            }

    with pytest.raises(
        NonFiniteLossError, match=r"state\.groups\.0\.quats holds NaN after step 20"
    ):
        run_toy(tmp_path / "run", max_steps=100, trainee=Poisoned())
    assert not list((tmp_path / "run").glob("checkpoints/*"))
    assert find_nan({"infinite": torch.tensor(math.inf), "count": torch.tensor(3)}) is None


def test_failing_viewer_does_not_stop_training(tmp_path: Path) -> None:
    calls = []

    def fail(step: int) -> None:
        calls.append(step)
        raise RuntimeError("no browser")

    assert run_toy(tmp_path / "run", max_steps=30, on_step=fail).steps == 30
    assert calls == [1]
    assert "no browser" in (tmp_path / "run" / "train.log").read_text()


def test_handlers_come_back_and_second_interrupt_aborts(tmp_path: Path) -> None:
    former = signal.getsignal(signal.SIGINT)

    def interrupt(step: int) -> None:
        signal.raise_signal(signal.SIGINT)

    summary = run_toy(tmp_path / "once", max_steps=30, on_step=interrupt)
    assert (summary.steps, summary.interrupted_by) == (1, "SIGINT")

    def interrupt_twice(step: int) -> None:
        interrupt(step)
        interrupt(step)

    with pytest.raises(KeyboardInterrupt):
        run_toy(tmp_path / "twice", max_steps=30, on_step=interrupt_twice)
    assert signal.getsignal(signal.SIGINT) is former


def test_runs_off_the_main_thread(tmp_path: Path) -> None:
    steps = []

    def work() -> None:
        steps.append(run_toy(tmp_path / "run", max_steps=30).steps)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert steps == [30]


def test_seconds_budget_counts_from_its_start(tmp_path: Path) -> None:
    budget = Budget(max_seconds=1.0)
    begin = time.monotonic()
    summary = run_toy(tmp_path / "run", max_steps=1, budget=budget, started=begin - 0.5)
    spent = time.monotonic() - begin
    assert 0.47 <= spent < 0.8  # 0.5 s were gone before; the rest of the 1 s includes the save
    assert summary.seconds == pytest.approx(spent + 0.5, abs=0.05)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert rows[-1]["step"] == summary.steps
    assert 0.9 < rows[-1]["progress"] < 1


def test_spent_budget_still_saves(tmp_path: Path) -> None:
    budget, started = Budget(max_seconds=1.0), time.monotonic() - 2
    summary = run_toy(tmp_path / "run", max_steps=1, budget=budget, started=started)
    assert summary.steps == 0
    assert summary.checkpoint.exists() and summary.scene.exists()


class TerminalText(io.StringIO):
    """What a terminal would show."""

    def isatty(self) -> bool:
        return True


def test_pipe_gets_one_line_per_log_and_terminal_a_bar(tmp_path: Path) -> None:
    text = io.StringIO()
    progress = make_progress(Console(file=text, width=40, force_terminal=True))  # colors in a pipe
    run_toy(tmp_path / "pipe", max_steps=60, progress=progress)
    lines = text.getvalue().splitlines()
    rows = read_metrics(tmp_path / "pipe" / "metrics.jsonl")
    assert [line.split()[1] for line in lines] == [str(row["step"]) for row in rows]
    assert f"PSNR {rows[-1]['preview_psnr']:.2f}" in lines[-1]

    text = TerminalText()
    progress = make_progress(Console(file=text, force_terminal=True, width=120))
    run_toy(tmp_path / "bar", max_steps=60, progress=progress)
    assert "100%" in text.getvalue() and "step 60" in text.getvalue()


def test_loop_costs_less_than_50_microseconds_per_step(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.runs.loop_cost", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(result.stdout) < 50e-6  # 6.5e-6 on a busy two-core machine


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="`log_every` must be at least 1, got 0"):
        Cadence(log_every=0)
    with pytest.raises(ValueError, match="`checkpoint_every_seconds` must be above 0"):
        Cadence(checkpoint_every_seconds=0.0)
    with pytest.raises(ValueError, match="`num_threads` must be at least 1"):
        set_num_threads(0)
