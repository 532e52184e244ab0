"""PlayCanvas splat-transform, the reference writer of several formats, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .command import CHECKOUT

PROGRAM = CHECKOUT / "tests/oracle/node_modules/@playcanvas/splat-transform/bin/cli.mjs"
"""Where `make oracle` puts it."""


def available() -> bool:
    """Whether it can be run here."""
    return shutil.which("node") is not None and PROGRAM.exists()


def convert(source: Path, target: Path, *, seconds: float) -> bool:
    """Write `target` from `source`, without a GPU; False where that takes longer than `seconds`."""
    command = ["node", str(PROGRAM), "-q", "-w", "-g", "cpu", str(source), str(target)]
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
