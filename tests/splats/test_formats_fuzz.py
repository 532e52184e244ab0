"""Damaged files of every format are read or refused: no crash, no surprise.

`benchmarks/format_fuzzing.py` reads far more cases, with limits on time and memory.
"""

from __future__ import annotations

import pytest

from benchmarks.format_fuzzing import NAMES, target
from benchmarks.fuzzing import read_case

CASES = 100


@pytest.mark.parametrize("ending", NAMES)
def test_damaged_files_are_refused_or_read(ending: str) -> None:
    """A refusal names the file, a field and a place; see `format_fuzzing.target`."""
    chosen = target(ending)
    originals = [chosen.read(data) for data in chosen.files]
    assert [chosen.read(data) for data in chosen.files] == originals
    outcomes = [read_case(chosen, originals, case, seed=1) for case in range(CASES)]
    bad = [(case, *found) for case, found in enumerate(outcomes) if found[0] in ("crash", "wrong")]
    assert not bad, bad[:5]
    assert sum(outcome == "refused" for outcome, _ in outcomes) > CASES / 3
