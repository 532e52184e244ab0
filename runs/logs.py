"""train.log: everything logged during a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def logging_to(path: Path, *, level: int = logging.INFO) -> Iterator[None]:
    """Append the records of all loggers from `level` upwards to a file while the block runs.

    Nested use with the same file writes each record once.
    """
    root = logging.getLogger()
    target = str(path.resolve())
    if any(getattr(handler, "baseFilename", None) == target for handler in root.handlers):
        yield
        return
    handler = logging.FileHandler(target, encoding="utf-8")
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    former_level = root.level
    root.addHandler(handler)
    root.setLevel(min(former_level, level) if former_level else level)
    try:
        yield
    finally:
        root.setLevel(former_level)
        root.removeHandler(handler)
        handler.close()
