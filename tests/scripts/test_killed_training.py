"""`fieldwright train splats` goes on after kill -9 as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captures.sample import make_sample_capture
from runs import RunDirectory, load_checkpoint, read_metrics

REPOSITORY = Path(__file__).resolve().parent.parent.parent
INTERVAL = 60
"""Steps between checkpoints."""
STEPS = 1500
"""Length of the run: refinement, growth and every degree of view dependence happen in it."""
KILLS = 20


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small photos of the sample scene."""
    folder = tmp_path_factory.mktemp("captures") / "sample"
    return make_sample_capture(folder, num_views=12, width=96, height=72, detail=0.25)


def start(photos: Path, out: Path) -> subprocess.Popen[bytes]:
    """Begin the run in `out`, or go on with it, in a process group of its own."""
    flags = ["--data", photos, "--out", out, "--max-steps", STEPS, "--resume", "--no-evaluate"]
    flags += ["--checkpoint-every", INTERVAL, "--max-gaussians", 3000, "--num-threads", 1]
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.main", "train", "splats", *map(str, flags)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()


def saved_step(run: Path) -> int:
    """Step of the newest readable checkpoint, 0 without one."""
    if not (run / "config.json").is_file():
        return 0
    newest = RunDirectory.open(run).latest_checkpoint
    return load_checkpoint(newest).step if newest else 0


def logged_step(run: Path) -> int:
    """The last step that metrics.jsonl holds, 0 without one."""
    log = run / "metrics.jsonl"
    rows = read_metrics(log) if log.is_file() else []
    return int(rows[-1]["step"]) if rows else 0


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path: Path, photos: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(photos, whole))
    moments = random.Random(4)
    kept = []
    for _ in range(KILLS):
        before = saved_step(killed)
        process = start(photos, killed)
        if moments.random() < 0.8:  # mostly while it trains, at times while it starts or resumes
            while saved_step(killed) == before and process.poll() is None:
                time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert saved_step(killed) >= max(before, logged_step(killed) - INTERVAL)
        kept.append(saved_step(killed))
    assert len(set(kept)) > 5, "the kills were to fall into different parts of the run"
    finish(start(photos, killed))
    for name in ("scene.ply", "metrics.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), f"{name} differs"
