"""Commands that are timed in turns."""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.turns import seconds_in_turns

_WORK = """
import sys, time
spent, now = 0.0, time.monotonic()
with open(sys.argv[1], "w") as stamps:
    while spent < 0.5:
        last, now = now, time.monotonic()
        spent += min(now - last, 0.01)
        print(now, file=stamps)
        time.sleep(0.001)
"""
"""Half a second of running, stamped; a gap counts as a hundredth of one."""


def test_one_command_runs_at_a_time(tmp_path: Path) -> None:
    """Sorted by time, stamps of two commands form few blocks instead of alternating."""
    files = {name: tmp_path / name for name in ("a", "b")}
    words = {name: [sys.executable, "-c", _WORK, str(file)] for name, file in files.items()}
    seconds = seconds_in_turns(words, turn=0.1)
    stamps = [
        (float(line), name) for name, file in files.items() for line in file.read_text().split()
    ]
    owners = [name for _, name in sorted(stamps)]
    switches = sum(a != b for a, b in pairwise(owners))
    assert len(stamps) > 200
    assert 4 <= switches <= 60
    span = max(stamps)[0] - min(stamps)[0]
    assert all(0.5 <= taken < span for taken in seconds.values())


def test_a_command_that_fails_is_quoted_and_the_other_is_ended(tmp_path: Path) -> None:
    """The error names the command and what it said; nothing is left running."""
    alive = tmp_path / "alive"
    code = f"import time\nwhile True:\n  open({str(alive)!r}, 'w').write(str(time.time()))"
    fails = "import sys; sys.exit('no such capture')"
    words = {"endless": [sys.executable, "-c", code], "fails": [sys.executable, "-c", fails]}
    with pytest.raises(RuntimeError, match="no such capture"):
        seconds_in_turns(words, turn=0.3)
    written = alive.read_text()
    time.sleep(0.1)
    assert alive.read_text() == written
