"""Run-time checks of tensor shapes, real data beside the repository, and a plain list of skips."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Annotations such as Float[Tensor, "N 3"] are enforced in tests and free in production. This runs
# before any test module is imported, so every import of our packages below is checked.
install_import_hook(
    ["captures", "runs", "vq", "splats", "registration", "viewer"], "beartype.beartype"
)

# What a test reads from the console is the same on a terminal, in a pipe and in CI.
for variable in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(variable, None)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real captures beside the repository; tests skip where it is missing."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data not found: shared/data is not beside the checkout")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests were skipped for which reason: a silent skip hides a broken feature."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in reports
        if isinstance(report.longrepr, tuple)
    )
    if not reasons:
        return
    terminalreporter.section(f"{len(reports)} skipped")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:4d}  {reason}")
