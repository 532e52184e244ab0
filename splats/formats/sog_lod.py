"""Streamed SOG (PlayCanvas): levels of detail in files that a viewer fetches as it needs them.

`lod-meta.json` holds a binary tree of boxes; each leaf says for every level which rows of which
SOG file are its own. Level 0 is the finest.

Reference: github.com/playcanvas/splat-transform, src/lib/writers/write-lod.ts (version 3.7).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..gaussians import Gaussians
from .contract import (
    HOUSE_FRAME,
    ROWS_PER_CHUNK,
    FileSummary,
    FormatError,
    LossReport,
    Source,
    refuse_existing,
)
from .frames import in_frame
from .sog import GENERATOR, check_writable, write_tables
from .sog_archive import SogOutput, create_files, open_files
from .sog_encoding import SogPlan, encode_tables
from .sog_merging import half_extents, merge_to
from .sog_meta import read_meta
from .sog_tables import SogTables, read_tables
from .sources import InMemory, collect

LOD_META = "lod-meta.json"
_MAX_DEPTH = 64
_MAX_LEVELS = 64


@dataclass(frozen=True)
class LodOptions:
    """What a writer of streamed SOG lets one choose."""

    levels: int | None = None
    """Number of levels, the finest included; None: halving until 16,384 Gaussians or fewer."""
    ratio: float = 0.5
    """Gaussians of a level over those of the next finer one."""
    rows_per_leaf: int = 1 << 19
    """Most Gaussians of a leaf, over all levels, and about as many in a file."""
    leaf_extent: float = 16.0
    """Longest side of a leaf's box of means, world units."""
    effort: int = 4
    """0 (fast) to 6 (small) of the WebP encoder."""

    def __post_init__(self) -> None:
        if self.levels is not None and not 1 <= self.levels <= _MAX_LEVELS:
            raise ValueError(f"`levels` must be 1 to {_MAX_LEVELS}, got {self.levels}.")
        if not 0 < self.ratio < 1:
            raise ValueError(f"`ratio` must be between 0 and 1, got {self.ratio}.")
        if self.rows_per_leaf < 1 or not self.leaf_extent > 0:
            raise ValueError(
                "`rows_per_leaf` and `leaf_extent` must be positive, got "
                f"{self.rows_per_leaf} and {self.leaf_extent}."
            )


@dataclass(frozen=True)
class Run:
    """Rows of one file that a leaf owns at one level."""

    level: int
    """0 is the finest."""
    file: int
    """Index of the file."""
    offset: int
    """First row."""
    count: int
    """Number of rows."""


class LodScene:
    """An open streamed SOG scene.

    Raises:
        FormatError: `lod-meta.json` is damaged or names rows that its files do not have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / LOD_META if path.is_dir() else path
        try:
            root = json.loads(self.path.read_bytes())
        except json.JSONDecodeError as error:
            raise self._fail("JSON", error.msg, offset=error.pos) from None
        except (UnicodeDecodeError, RecursionError, ValueError) as error:
            raise self._fail("JSON", str(error)) from None
        if not isinstance(root, dict):
            raise self._fail("root", "expected an object")
        names = root.get("filenames")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._fail("filenames", "expected a list of file names")
        self.filenames: list[str] = names
        self.runs: list[Run] = []
        self._walk(root.get("tree"), 0)
        self._check_rows()
        self.num_levels = 1 + max(run.level for run in self.runs)

    def level(self, index: int) -> LodSource:
        """One level as a `Source`; 0 is the finest.

        Raises:
            ValueError: There is no such level.
        """
        if not 0 <= index < self.num_levels:
            raise ValueError(f"`index` must be 0 to {self.num_levels - 1}, got {index}.")
        return LodSource(self, index)

    def folder(self, file: int) -> Path:
        """The `meta.json` of a file of the scene."""
        return self.path.parent / self.filenames[file]

    def _fail(self, field: str, message: str, *, offset: int | None = None) -> FormatError:
        return FormatError(self.path, f"{message}.", field=field, offset=offset)

    def _walk(self, node: Any, depth: int) -> None:
        """Collect the runs of all leaves below `node`."""
        if not isinstance(node, dict) or depth > _MAX_DEPTH:
            raise self._fail("tree", f"expected nested objects, at most {_MAX_DEPTH} deep")
        children = node.get("children")
        if children is not None:
            if not isinstance(children, list) or not children:
                raise self._fail("tree.children", "expected a list of nodes")
            for child in children:
                self._walk(child, depth + 1)
            return
        lods = node.get("lods")
        if not isinstance(lods, dict):
            raise self._fail("tree.lods", "expected an object by level")
        for key, value in lods.items():
            level = int(key) if key.isascii() and key.isdigit() and len(key) < 3 else _MAX_LEVELS
            numbers = [
                value.get(name) if isinstance(value, dict) else None
                for name in ("file", "offset", "count")
            ]
            whole = [number for number in numbers if type(number) is int]
            if level >= _MAX_LEVELS or len(whole) < 3:
                raise self._fail("tree.lods", f"expected file, offset and count, got {key[:20]!r}")
            self.runs.append(Run(level, *whole))

    def _check_rows(self) -> None:
        if not self.runs:
            raise self._fail("tree", "expected at least one leaf with rows")
        counts: dict[int, int] = {}
        for run in self.runs:
            if not 0 <= run.file < len(self.filenames):
                raise self._fail("file", f"expected 0 to {len(self.filenames) - 1}, got {run.file}")
            name = self.filenames[run.file]
            if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
                raise self._fail("filenames", f"expected a name inside the folder, got {name!r}")
            if not self.folder(run.file).is_file():
                raise self._fail("filenames", f"the file {name!r} is missing")
            if run.file not in counts:
                counts[run.file] = read_meta(open_files(self.folder(run.file))).count
            if run.offset < 0 or run.count < 1 or run.offset + run.count > counts[run.file]:
                raise self._fail(
                    "offset",
                    f"rows {run.offset} to {run.offset + run.count} lie outside {name!r}, which "
                    f"has {counts[run.file]}",
                )


@dataclass(frozen=True)
class LodSource:
    """One level of a streamed SOG scene as a `Source`; one file is in memory at a time."""

    scene: LodScene
    """Where the files are."""
    index: int
    """The level, 0 the finest."""

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Rows of this level, leaf by leaf."""
        return tuple(run for run in self.scene.runs if run.level == self.index)

    @cached_property
    def _first(self) -> SogTables:
        """The tables of the level's first file."""
        return read_tables(open_files(self.scene.folder(self.runs[0].file)))

    @property
    def num_primitives(self) -> int:
        """Number of Gaussians of this level."""
        return sum(run.count for run in self.runs)

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics."""
        return self._first.sh_degree

    @property
    def frame(self) -> str:
        """SOG keeps the axes of PLY files."""
        return HOUSE_FRAME

    @property
    def antialiased(self) -> bool:
        """Whether the model is "antialiased"."""
        return self._first.meta.model == "antialiased"

    @property
    def model(self) -> str:
        """ "3dgs" or "2dgs"."""
        return "2dgs" if self._first.meta.model == "2dgs" else "3dgs"

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """All Gaussians of the level, leaf by leaf."""
        file, tables = self.runs[0].file, self._first
        for run in self.runs:
            if run.file != file:
                file, tables = run.file, read_tables(open_files(self.scene.folder(run.file)))
            if tables.sh_degree != self.sh_degree:
                raise FormatError(
                    self.scene.folder(run.file),
                    f"expected harmonics of degree {self.sh_degree} like the other files of the "
                    f"level, got {tables.sh_degree}.",
                    field="shN",
                )
            for start in range(run.offset, run.offset + run.count, rows):
                yield tables.decode(slice(start, min(start + rows, run.offset + run.count)))


class LodFormat:
    """Streamed SOG as a `Format`; opening gives the finest level."""

    suffixes = (LOD_META,)
    magic = b""
    Options = LodOptions

    def open(self, path: Path) -> LodSource:
        """The finest level; `LodScene(path).level(index)` gives the others."""
        return LodScene(path).level(0)

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: LodOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """Write `source` and coarser levels merged from it, as a folder with `lod-meta.json`.

        The levels are in memory together, about twice the float32 parameters of `source`.
        """
        options = options or LodOptions()
        path = path if path.suffix.lower() == ".json" else path / LOD_META
        refuse_existing(path, overwrite=overwrite)
        check_writable(source)
        levels = make_levels(collect(in_frame(source)), options)
        with create_files(path) as output:
            order, num_bytes = _write_levels(levels, source, options, output)
        return LossReport(
            path,
            num_bytes,
            max_errors=None,
            order=torch.from_numpy(order),
            notes=(f"Levels of {', '.join(str(len(level)) for level in levels)} Gaussians.",),
        )

    def summarize(self, path: Path) -> FileSummary:
        """The finest level, and the bytes of every file."""
        scene = LodScene(path)
        source = scene.level(0)
        sections = {LOD_META: scene.path.stat().st_size}
        for name in scene.filenames:
            folder = (scene.path.parent / name).parent
            sections[name] = sum(item.stat().st_size for item in folder.iterdir())
        counts = [scene.level(index).num_primitives for index in range(scene.num_levels)]
        return FileSummary(
            num_primitives=source.num_primitives,
            sh_degree=source.sh_degree,
            antialiased=source.antialiased,
            frame=source.frame,
            sections=sections,
            model=source.model,
            details={"levels": ", ".join(str(count) for count in counts)},
        )


def make_levels(gaussians: Gaussians, options: LodOptions) -> list[Gaussians]:
    """`gaussians` and ever fewer merged from them, the finest first."""
    levels = [gaussians]
    while len(levels) < (options.levels or _MAX_LEVELS):
        count = len(levels[-1])
        if count == 1 or (options.levels is None and count <= 1 << 14):
            break
        levels.append(merge_to(levels[-1], max(1, min(count - 1, round(count * options.ratio)))))
    return levels


class _Tree:
    """A k-d tree over the means of all levels, and which rows of which file each leaf owns."""

    def __init__(self, levels: list[Gaussians], options: LodOptions) -> None:
        self.options = options
        self.means = torch.cat([level.means for level in levels]).numpy()
        extents = torch.cat([half_extents(level) for level in levels]).numpy()
        self.low, self.high = self.means - extents, self.means + extents
        self.starts = np.cumsum([0, *(len(level) for level in levels)])
        self.files: list[tuple[int, list[NDArray[np.int64]]]] = []
        self._open: dict[int, int] = {}
        self.root = self._node(np.arange(len(self.means)))

    def _node(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        low, high = self.means[rows].min(0), self.means[rows].max(0)
        small = len(rows) <= self.options.rows_per_leaf
        if len(rows) > 1 and not (small and float((high - low).max()) <= self.options.leaf_extent):
            axis = int((high - low).argmax())
            middle = len(rows) // 2
            order = np.argsort(self.means[rows, axis], kind="stable")
            halves = (np.sort(rows[order[:middle]]), np.sort(rows[order[middle:]]))
            children = [self._node(half) for half in halves]
            bounds = [child["bound"] for child in children]
            bound = {
                "min": np.min([item["min"] for item in bounds], axis=0).tolist(),
                "max": np.max([item["max"] for item in bounds], axis=0).tolist(),
            }
            return {"bound": bound, "children": children}
        bound = {
            "min": self.low[rows].min(0).tolist(),
            "max": self.high[rows].max(0).tolist(),
        }
        cuts = np.searchsorted(rows, self.starts)
        lods = {
            str(level): self._place(level, rows[first:last] - self.starts[level])
            for level, (first, last) in enumerate(pairwise(cuts))
            if last > first
        }
        return {"bound": bound, "lods": lods}

    def _place(self, level: int, rows: NDArray[np.int64]) -> dict[str, int]:
        """Append the rows of a leaf to the level's file, or to a new one where that is full."""
        if level not in self._open:
            self._open[level] = len(self.files)
            self.files.append((level, []))
        file = self._open[level]
        offset = sum(len(part) for part in self.files[file][1])
        self.files[file][1].append(rows)
        if offset + len(rows) > self.options.rows_per_leaf:
            del self._open[level]
        return {"file": file, "offset": offset, "count": len(rows)}


def _write_levels(
    levels: list[Gaussians], source: Source, options: LodOptions, output: SogOutput
) -> tuple[NDArray[np.int64], int]:
    """Write all files; returns the order of the finest level's rows and the bytes written."""
    tree = _Tree(levels, options)
    plan = SogPlan(2, None, 5)
    names: list[str] = []
    order = []
    num_bytes = 0
    for level, parts in tree.files:
        prefix = f"{level}_{sum(name.startswith(f'{level}_') for name in names)}/"
        names.append(f"{prefix}meta.json")
        rows = np.concatenate(parts)
        unit = InMemory(
            levels[level][torch.from_numpy(rows)],
            antialiased=source.antialiased,
            model=source.model,
        )
        tables, within = encode_tables(unit, plan, runs=[len(part) for part in parts])
        num_bytes += write_tables(output, tables, effort=options.effort, prefix=prefix)
        if level == 0:
            order.append(rows[within])
    counts = [len(level) for level in levels]
    meta = {
        "version": 1,
        "asset": {"generator": GENERATOR},
        "count": sum(counts),
        "counts": counts,
        "lodLevels": len(levels),
        "filenames": names,
        "tree": tree.root,
    }
    text = json.dumps(meta, separators=(",", ":"), allow_nan=False).encode()
    output.write(LOD_META, text)
    return np.concatenate(order), num_bytes + len(text)
