"""Finished parts of long suites, kept on disk so that a run that was interrupted goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from runs.files import write_json

from .command import CHECKOUT

FOLDER = CHECKOUT / "build" / "bench"
"""Delete it to measure everything again."""
_SOURCES = (".py", ".cpp", ".hpp")


def kept(suite: str, digest: str, name: str, compute: Callable[[], Any]) -> Any:
    """What `compute` returned (JSON) when this source was first asked for `name`."""
    words = "".join(c if c.isalnum() else "-" for c in name)
    path = FOLDER / suite / f"{words}-{digest}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, compute())
    return json.loads(path.read_text())


def source_digest(paths: Iterable[str]) -> str:
    """Of the source files and folders of this checkout that a result depends on."""
    hashed = hashlib.blake2b(digest_size=6)
    for name in paths:
        root = CHECKOUT / name
        files = sorted(root.rglob("*")) if root.is_dir() else [root]
        for file in files:
            if file.suffix in _SOURCES:
                hashed.update(file.read_bytes())
    return hashed.hexdigest()
