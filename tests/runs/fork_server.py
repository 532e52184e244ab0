"""Forks training processes from one warm parent: importing torch takes longer than these runs.

Reads one JSON object per line: {"path", "max_steps", "file_limit"}; answers with a line per event:
the child's pid, then "exit STATUS" once it is gone. The child writes its number of steps done into
PATH.steps, so that a test can see how far it got before it was killed.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from tests.runs.toy import ToyTrainee
from tests.runs.toy_run import run_toy

STOPPED_EXIT = 75


def child(request: dict[str, Any]) -> int:
    """Train; 0 when done, 75 when a signal ended it between two steps."""
    if limit := request.get("file_limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    path = Path(request["path"])
    counter = os.open(f"{path}.steps", os.O_RDWR | os.O_CREAT)

    def count(step: int) -> None:
        os.pwrite(counter, struct.pack("<q", step), 0)

    summary = run_toy(path, max_steps=request["max_steps"], on_step=count)
    return 0 if summary.interrupted_by is None else STOPPED_EXIT


def warm_up() -> None:
    """Let torch import what its optimizers import when first used."""
    toy = ToyTrainee()
    toy.weights.grad = torch.zeros_like(toy.weights)
    toy.optimizer.step()
    toy.load_state_dict(toy.state_dict())


def main() -> None:
    """Serve until standard input ends."""
    torch.set_num_threads(1)
    warm_up()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = child(json.loads(line))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"exit {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
