"""The `fieldwright` command as a user runs it, and the real data that suites run it on."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
"""Root of the source checkout."""

_logger = logging.getLogger(__name__)


def fieldwright(*arguments: object) -> dict[str, Any]:
    """Run one command line in a fresh process and return its `--json` summary.

    Raises:
        RuntimeError: It failed; the message ends with what it printed last.
    """
    words = command_line(*arguments, "--json")
    result = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = "\n".join(result.stderr.strip().splitlines()[-5:])
        raise RuntimeError(f"fieldwright {' '.join(map(str, arguments))} failed: {said}")
    return json.loads(result.stdout.splitlines()[-1])


def command_line(*arguments: object) -> list[str]:
    """The words of a process that runs `fieldwright` from the root of the checkout."""
    return [sys.executable, "-m", "scripts.main", *map(str, arguments)]


def real_data(name: str) -> Path | None:
    """`shared/data/NAME` beside the checkout; says so once and returns None where it is missing."""
    path = CHECKOUT.parent / "shared" / "data" / name
    if path.exists():
        return path
    _logger.warning("Rows on shared/data/%s are left out: it is not beside the checkout.", name)
    return None
