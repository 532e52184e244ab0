"""The rows of one element of a PLY file, read in blocks, whatever their types and encoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..training.kernels import native_kernels
from .contract import FormatError
from .ply_header import Element, Header


@dataclass(frozen=True)
class Group:
    """Properties that are read together into one array."""

    names: tuple[str, ...]
    """Of the element, in any order."""
    allow: tuple[float, ...] = ()
    """Values that are let through although they are not finite."""


class PlyTable:
    """One element of a PLY file.

    Raises:
        FormatError: The file ends before the announced rows do.
    """

    def __init__(self, path: Path, header: Header, element: Element) -> None:
        self.path = path
        self.header = header
        self.element = element
        self.row = element.dtype(header.encoding)
        self._places = {name: field[1] for name, field in (self.row.fields or {}).items()}
        self.offset = header.num_bytes
        self._lines_before = 0
        if header.encoding == "ascii":
            self._check_text()
        else:
            self._check_binary()

    @property
    def end(self) -> int:
        """Offset after the last row of a binary file."""
        return self.offset + self.element.count * self.row.itemsize

    def blocks(self, rows: int, groups: Sequence[Group]) -> Iterator[list[NDArray[np.float32]]]:
        """Arrays [n, len(names)] of every group, for at most `rows` rows at a time.

        Raises:
            FormatError: A value is not finite, or a line of text is no row of numbers.
        """
        if self.header.encoding == "ascii":
            yield from self._text_blocks(rows, groups)
            return
        for start in range(0, self.element.count, rows):
            # One map per block, so that the resident part of a large file stays small.
            values = np.memmap(
                self.path,
                self.row,
                "r",
                offset=self.offset + start * self.row.itemsize,
                shape=(min(rows, self.element.count - start),),
            )
            arrays, suspicious = self._copy(values, groups)
            if suspicious:
                for group, array in zip(groups, arrays, strict=True):
                    if (found := _first_fault(array, group)) is not None:
                        self._refuse(start + found[0], group.names[found[1]], array[found], None)
            yield arrays

    def _copy(
        self, values: NDArray[Any], groups: Sequence[Group]
    ) -> tuple[list[NDArray[np.float32]], bool]:
        """The groups' columns, and whether some may not be finite."""
        arrays = [np.empty((len(values), len(group.names)), np.float32) for group in groups]
        wanted = [name for group in groups for name in group.names]
        native = native_kernels()
        if native is not None and all(self.row[name].str[1:] == "f4" for name in wanted):
            address = values.ctypes.data
            moves = [
                (
                    address,
                    self.row.itemsize,
                    array.ctypes.data,
                    4 * len(group.names),
                    [self._places[name] for name in group.names],
                    list(range(0, 4 * len(group.names), 4)),
                )
                for group, array in zip(groups, arrays, strict=True)
            ]
            swap = self.header.encoding == "binary_big_endian"
            return arrays, native.move_columns(len(values), moves, swap)
        with np.errstate(over="ignore"):
            for group, array in zip(groups, arrays, strict=True):
                for place, name in enumerate(group.names):
                    array[:, place] = values[name]
        return arrays, True

    def _before(self) -> tuple[Element, ...]:
        return self.header.elements[: self.header.elements.index(self.element)]

    def _check_binary(self) -> None:
        for element in self._before():
            if element.has_lists:
                message = "an element with lists stands before the Gaussians; write it after them."
                raise FormatError(
                    self.path, message, field=f"element {element.name}", offset=self.offset
                )
            self.offset += element.count * element.dtype(self.header.encoding).itemsize
        size = self.path.stat().st_size
        if self.end > size:
            held = max(0, size - self.offset) // self.row.itemsize
            raise self._too_short(size, f"{self.end} bytes and only {held} rows are there")

    def _check_text(self) -> None:
        self._lines_before = sum(element.count for element in self._before())
        count, width = self.element.count, len(self.element.properties)
        size = self.path.stat().st_size
        # Every value takes at least one digit and one separator.
        if self._lines_before + 2 * count * width > size - self.offset + 1:
            raise self._too_short(size, f"{count} lines of {width} values")

    def _too_short(self, size: int, needed: str) -> FormatError:
        message = f"needs {needed}. The file is truncated or its count is wrong."
        element = f"element {self.element.name} {self.element.count}"
        return FormatError(self.path, message, field=element, offset=size)

    def _text_blocks(
        self, rows: int, groups: Sequence[Group]
    ) -> Iterator[list[NDArray[np.float32]]]:
        columns = [[self.element.names.index(name) for name in group.names] for group in groups]
        with self.path.open("rb") as file:
            file.seek(self.offset)
            offset = self.offset + sum(len(line) for line in islice(file, self._lines_before))
            for start in range(0, self.element.count, rows):
                lines = list(islice(file, min(rows, self.element.count - start)))
                values, offsets = self._parse(lines, start, offset)
                if len(lines) < min(rows, self.element.count - start):
                    raise self._bad_row(start + len(lines), offsets[-1], b"the end of the file")
                with np.errstate(over="ignore"):
                    arrays = [values[:, places].astype(np.float32) for places in columns]
                for group, array in zip(groups, arrays, strict=True):
                    if (found := _first_fault(array, group)) is not None:
                        name = group.names[found[1]]
                        self._refuse(start + found[0], name, array[found], offsets[found[0]])
                offset = offsets[-1]
                yield arrays

    def _parse(
        self, lines: list[bytes], start: int, offset: int
    ) -> tuple[NDArray[np.float64], list[int]]:
        """Values [n, properties], and the offset of each line and of what follows."""
        width = len(self.element.properties)
        values = np.empty((len(lines), width))
        offsets = [offset]
        for row, line in enumerate(lines):
            words = line.split()
            try:
                if len(words) != width:
                    raise ValueError
                values[row] = words
            except ValueError:
                raise self._bad_row(start + row, offsets[-1], line[:80]) from None
            offsets.append(offsets[-1] + len(line))
        return values, offsets

    def _bad_row(self, row: int, offset: int, found: bytes) -> FormatError:
        message = (
            f"line {self.header.num_lines + self._lines_before + row + 1}: expected "
            f"{len(self.element.properties)} numbers of row {row + 1} of {self.element.count}, got "
            f"{found.decode('ascii', 'replace').rstrip()!r}; the file is truncated or damaged."
        )
        return FormatError(self.path, message, field=self.element.name, offset=offset)

    def _refuse(self, row: int, name: str, value: np.floating, line: int | None) -> None:
        inside = self._places[name]
        offset = self.offset + row * self.row.itemsize + inside if line is None else line
        message = (
            f"of Gaussian {row} must be a finite float32 number, got {value}; remove such rows "
            "before loading."
        )
        raise FormatError(self.path, message, field=name, offset=offset)


def _first_fault(array: NDArray[np.float32], group: Group) -> tuple[int, int] | None:
    """Row and column of the first value that is neither finite nor allowed."""
    bad = ~np.isfinite(array)
    if not bad.any():
        return None
    for value in group.allow:
        bad &= array != value
    if not bad.any():
        return None
    row, column = divmod(int(bad.argmax()), array.shape[1])
    return row, column
