"""Splat files in and out; formats are found through the entry points `fieldwright.formats`."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path

from runs import FORMATS, list_plugins, load_plugin

from ..gaussians import Gaussians
from .contract import FileSummary, Format, LossReport

__all__ = [
    "FileSummary",
    "Format",
    "LossReport",
    "find_format",
    "formats",
    "load",
    "save",
    "summarize",
]


@cache
def formats() -> dict[str, Format]:
    """The installed formats by name, our own like anybody's."""
    return {name: load_plugin(FORMATS, name)() for name in list_plugins(FORMATS)}


def find_format(path: Path) -> Format:
    """The format of an existing file by its first bytes, else by the ending of its name.

    Raises:
        ValueError: No installed format fits.
    """
    known = formats()
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(64)
        for candidate in known.values():
            if candidate.magic and start.startswith(candidate.magic):
                return candidate
    suffix = path.suffix.lower()
    for candidate in known.values():
        if suffix in candidate.suffixes:
            return candidate
    endings = sorted({ending for item in known.values() for ending in item.suffixes})
    close = difflib.get_close_matches(suffix, endings, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    raise ValueError(
        f"`path` must end with one of {', '.join(endings) or '(no format is installed)'}, "
        f"got {path}{hint}"
    )


def load(path: str | Path) -> Gaussians:
    """The Gaussians in a file of any installed format.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Unknown format or malformed file, with path, position and field.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; expected a splat file such as scene.ply.")
    return find_format(path).load(path)


def save(
    gaussians: Gaussians,
    path: str | Path,
    *,
    overwrite: bool = False,
    antialiased: bool = False,
) -> LossReport:
    """Write a file in the format its name ends with.

    Args:
        gaussians: In the frame that the file shall have.
        path: Where to; moved into place once complete.
        overwrite: Replace an existing file.
        antialiased: Note in the file that renderers shall apply the opacity compensation.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
    """
    path = Path(path)
    return find_format(path).save(gaussians, path, overwrite=overwrite, antialiased=antialiased)


def summarize(path: str | Path) -> FileSummary:
    """What the header of a splat file says, without reading its payload."""
    path = Path(path)
    return find_format(path).summarize(path)
