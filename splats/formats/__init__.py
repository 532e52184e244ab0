"""Splat files in and out; formats are found through the entry points `fieldwright.formats`."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import Any

from runs import FORMATS, list_plugins, load_plugin

from ..gaussians import Gaussians
from .compare import measure_loss
from .contract import (
    HOUSE_FRAME,
    ROWS_PER_CHUNK,
    FileSummary,
    Format,
    FormatError,
    LossReport,
    Progressive,
    Source,
    refuse_existing,
)
from .frames import declared, in_frame
from .sources import InMemory, Spool, View, collect

__all__ = [
    "HOUSE_FRAME",
    "ROWS_PER_CHUNK",
    "FileSummary",
    "Format",
    "FormatError",
    "InMemory",
    "LossReport",
    "Progressive",
    "Source",
    "Spool",
    "View",
    "collect",
    "declared",
    "find_format",
    "formats",
    "in_frame",
    "load",
    "measure_loss",
    "name_of",
    "open_source",
    "refuse_existing",
    "save",
    "summarize",
]

_MAGIC_BYTES = 64


@cache
def formats() -> dict[str, Format]:
    """The installed formats by name, our own like anybody's."""
    return {name: load_plugin(FORMATS, name)() for name in list_plugins(FORMATS)}


def name_of(format_: Format) -> str:
    """The name of an installed format."""
    return next(name for name, known in formats().items() if known is format_)


def find_format(path: Path, *, name: str | None = None, writing: bool = False) -> Format:
    """The format of a file: by `name`, by its first bytes if it exists, by the end of its name.

    Where several formats share first bytes or endings, the longest that fits wins, so that
    `.compressed.ply` is told from `.ply`. An ending without a dot, such as `meta.json`, also fits
    a folder with a file of that name.

    Args:
        path: A file or folder, there or yet to be written.
        name: Name of a format, as in `formats()`; None to find it.
        writing: What is there now does not matter, as it will be replaced.

    Raises:
        ValueError: No installed format fits.
    """
    known = formats()
    if name is not None:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise ValueError(f"no format {name!r}; expected one of {', '.join(known)}{hint}")
        return known[name]
    start = b""
    if path.is_file() and not writing:
        with path.open("rb") as file:
            start = file.read(_MAGIC_BYTES)
    lower = path.name.lower()

    def fits(ending: str) -> bool:
        return lower.endswith(ending) or (ending[0] != "." and (path / ending).is_file())

    def fit(candidate: Format) -> tuple[int, int]:
        matches = bool(candidate.magic) and start.startswith(candidate.magic)
        endings = [len(ending) for ending in candidate.suffixes if fits(ending)]
        return len(candidate.magic) if matches else 0, max(endings, default=0)

    best = max(known.values(), key=fit, default=None)
    if best is not None and fit(best) > (0, 0):
        return best
    endings = sorted({ending for item in known.values() for ending in item.suffixes})
    close = difflib.get_close_matches(path.suffix.lower(), endings, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    raise ValueError(
        f"`path` must end with one of {', '.join(endings) or '(no format is installed)'}, "
        f"got {path}{hint}"
    )


def open_source(
    path: str | Path, *, frame: str | None = None, first: float | None = None
) -> Source:
    """The Gaussians in a file or folder of any installed format, read while gone through.

    Args:
        path: What to read.
        frame: Axes its numbers are in, where the file does not say or is wrong; None believes it.
        first: Share of an asset's bytes to look at, in (0, 1]: what shows of it while it arrives.
            None takes all, and refuses files that were cut off.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Unknown format, malformed file (`FormatError`), or one whose beginning shows
            nothing.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not a file; expected a splat file such as scene.ply.")
    found = find_format(path)
    if first is None:
        return declared(found.open(path), frame)
    if not isinstance(found, Progressive):
        raise ValueError(f"`first` needs a progressive asset (.fwa), got {path}.")
    return declared(found.open_prefix(path, first=first), frame)


def load(path: str | Path, *, frame: str | None = None) -> Gaussians:
    """The Gaussians in a file of any installed format, on the CPU, in the axes `HOUSE_FRAME`.

    Args:
        path: What to read.
        frame: Axes its numbers are in, such as "RUB"; None believes the file, which matters only
            for formats and files that declare another than RDF.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Unknown format or malformed file, with path, position and field.
    """
    return collect(in_frame(open_source(path, frame=frame)))


def save(
    gaussians: Gaussians,
    path: str | Path,
    *,
    overwrite: bool = False,
    antialiased: bool = False,
    options: Any = None,
) -> LossReport:
    """Write a file in the format its name ends with, and read it again to measure what was lost.

    Args:
        gaussians: In the axes `HOUSE_FRAME`; the file has those of its format.
        path: Where to; moved into place once complete.
        overwrite: Replace an existing file.
        antialiased: Note in the file that renderers shall apply the opacity compensation.
        options: Of the format's `Options`; None takes the defaults.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
    """
    path = Path(path)
    source = InMemory(gaussians, antialiased=antialiased)
    return find_format(path, writing=True).write(source, path, options=options, overwrite=overwrite)


def summarize(path: str | Path) -> FileSummary:
    """What the header of a splat file says, without reading its payload."""
    path = Path(path)
    return find_format(path).summarize(path)
