"""Training processes that tests may kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


class TrainingProcesses:
    """Starts toy runs in processes of their own, one at a time."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        """File with everything the processes wrote to standard error."""
        with errors.open("w") as stderr:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.runs.fork_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=REPOSITORY,
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            )

    def start(self, path: Path, **request: Any) -> int:
        """Begin or resume the run in `path`; returns the process id."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"path": str(path), **request}) + "\n")
        self._server.stdin.flush()
        return int(self._read())

    def wait(self) -> int:
        """The exit code of the process last started, negative for the signal that killed it."""
        return int(self._read().removeprefix("exit "))

    def close(self) -> None:
        """End the server."""
        self._server.communicate()

    def _read(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline()


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Where the tests were started in the background, SIGINT is ignored, by their children too."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture(scope="module")
def processes(
    tmp_path_factory: pytest.TempPathFactory, interruptible: None
) -> Iterator[TrainingProcesses]:
    """A warm server for training processes."""
    server = TrainingProcesses(tmp_path_factory.mktemp("server") / "stderr.txt")
    yield server
    server.close()
