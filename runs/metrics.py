"""metrics.jsonl: one line of JSON per logged step."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import RunError
from .files import replacing

logger = logging.getLogger(__name__)


class MetricsLog:
    """Appends rows to a metrics file; a context manager.

    Rows hold nothing that depends on the clock, so a resumed run writes the same bytes as an
    uninterrupted one. Each row reaches the operating system at once (a killed process loses none).
    """

    def __init__(self, path: Path, *, last_step: int) -> None:
        """Open `path`, first dropping rows of steps after `last_step`, which will come again."""
        self._path = path
        if path.exists():
            _truncate(path, last_step)
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append {"step": step, **values}; numbers that are not finite become null."""
        row: dict[str, Any] = {"step": step}
        row |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            self._file.write(json.dumps(row, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise RunError(f"cannot append to {self._path}: {error}.") from error

    def sync(self) -> None:
        """Bring all rows to the disk, so that no checkpoint is newer than its rows."""
        os.fsync(self._file.fileno())

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All rows of a metrics file, each a dict with "step"; a torn last line is left out."""
    rows = []
    for line in path.read_bytes().splitlines(keepends=True):
        row = _parse(line)
        if row is None:
            break
        rows.append(row)
    return rows


def _truncate(path: Path, last_step: int) -> None:
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        row = _parse(line)
        if row is None or row["step"] > last_step:
            break
        kept.append(line)
    with replacing(path) as file:
        file.writelines(kept)


def _parse(line: bytes) -> dict[str, Any] | None:
    """The row of a complete line, None for one that was torn when the process died."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
