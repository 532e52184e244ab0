"""Wall times of whole commands that are compared with each other, taken in turns."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from .command import CHECKOUT

TURN = 2.0
"""Seconds that one command runs before the others do, so that what disturbs the machine for longer
disturbs all of them."""


def seconds_in_turns(
    commands: Mapping[str, Sequence[str]], *, turn: float = TURN
) -> dict[str, float]:
    """Run commands from the root of the checkout, one at a time for `turn` seconds, while the
    others are stopped, to the end of all.

    Args:
        commands: Words of each, by name.
        turn: Seconds.

    Returns:
        Seconds that each ran; those in which it was stopped do not count.

    Raises:
        RuntimeError: One failed; the message ends with what it printed last.
    """
    with ExitStack() as stack:
        every = {name: stack.enter_context(_Command(words)) for name, words in commands.items()}
        waiting = list(every.values())
        while waiting:
            waiting = [command for command in waiting if not command.go_on(turn)]
        return {name: command.seconds for name, command in every.items()}


class _Command:
    """A process that runs while `go_on` does."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()
        self.seconds = 0.0
        """That it ran."""

    def __enter__(self) -> _Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._said.close()

    def go_on(self, seconds: float) -> bool:
        """Run for so long or to the end; whether that is reached."""
        started = time.perf_counter()
        if self._process is None:
            self._process = subprocess.Popen(
                self._words,
                cwd=CHECKOUT,
                stdout=self._said,
                stderr=self._said,
                start_new_session=True,
            )
        else:
            os.killpg(self._process.pid, signal.SIGCONT)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGSTOP)
        self.seconds += time.perf_counter() - started
        if self._process.returncode:
            self._said.seek(0)
            said = "\n".join(self._said.read().decode(errors="replace").splitlines()[-5:])
            raise RuntimeError(f"{' '.join(self._words)} failed: {said}")
        return self._process.returncode == 0
