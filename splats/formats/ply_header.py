"""The header of a PLY file: elements, their properties and where the data starts.

Reference: Greg Turk, "The PLY Polygon File Format", 1994.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

MAX_HEADER_BYTES = 1 << 20
"""A degree-4 splat header takes 3 kB; anything longer than this is not a header."""

Encoding = Literal["ascii", "binary_little_endian", "binary_big_endian"]

_TYPE_CODES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("half", "float16"), "f2"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}


@dataclass(frozen=True)
class Element:
    """One table of a PLY file."""

    name: str
    """For splats, "vertex"."""
    count: int
    """Number of rows as declared, not yet checked against the file's size."""
    properties: tuple[tuple[str, str], ...]
    """(name, NumPy type code without byte order) of every scalar property, in file order."""
    has_lists: bool
    """True where a list property makes the rows differ in size."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scalar properties."""
        return tuple(name for name, _ in self.properties)

    def dtype(self, encoding: Encoding) -> np.dtype:
        """Structured type of one binary row."""
        order = ">" if encoding == "binary_big_endian" else "<"
        return np.dtype([(name, order + code) for name, code in self.properties])


@dataclass(frozen=True)
class Header:
    """Everything before the data."""

    encoding: Encoding
    """How the data is stored."""
    elements: tuple[Element, ...]
    """In file order."""
    comments: tuple[str, ...]
    """Text of the `comment` and `obj_info` lines."""
    num_bytes: int
    """Offset of the first data byte."""
    num_lines: int
    """Number of header lines, for positions in ASCII files."""


def read_header(path: Path) -> Header:
    """Parse and check the header of `path`.

    Raises:
        ValueError: Not a PLY file or a malformed header, with the line's number.
    """
    with path.open("rb") as file:
        data = file.read(MAX_HEADER_BYTES)
    if not data:
        raise ValueError(f"{path}: the file is empty; expected a PLY file that starts with `ply`.")
    if data.split(b"\n", 1)[0].rstrip(b"\r ") != b"ply":
        raise ValueError(
            f"{path}: byte 0: expected the line `ply`, got {data[:16]!r}; this is not a PLY file."
        )
    lines, end = _split_lines(path, data)
    encoding: Encoding | None = None
    comments: list[str] = []
    elements: list[Element] = []
    for number, line in enumerate(lines[1:-1], start=2):
        keyword, _, rest = line.partition(" ")
        words = rest.split()
        if keyword in ("comment", "obj_info"):
            comments.append(rest.strip())
        elif keyword == "format":
            encoding = _parse_format(path, number, words)
        elif keyword == "element":
            elements.append(_parse_element(path, number, words))
        elif keyword == "property":
            if not elements:
                raise _bad_line(path, number, line, "`element` before the first `property`")
            elements[-1] = _add_property(path, number, words, elements[-1])
        elif line.strip():
            raise _bad_line(path, number, line, "format, element, property, comment or end_header")
    if encoding is None:
        raise ValueError(f"{path}: the header has no `format` line; the file is damaged.")
    return Header(encoding, tuple(elements), tuple(comments), end, len(lines))


def _split_lines(path: Path, data: bytes) -> tuple[list[str], int]:
    """Header lines from `ply` to `end_header`, and the offset after them."""
    end = re.search(rb"\nend_header[ \r]*\n", data)
    if end is None:
        raise ValueError(
            f"{path}: no `end_header` line in the first {len(data)} bytes; the file is truncated "
            "or is not a PLY file."
        )
    try:
        text = data[: end.end()].decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: byte {error.start}: the header is not text; the file is damaged."
        ) from None
    return [line.rstrip("\r") for line in text.split("\n")[:-1]], end.end()


def _bad_line(path: Path, number: int, line: str, expected: str) -> ValueError:
    return ValueError(f"{path}: line {number}: expected {expected}, got {line[:80]!r}.")


def _parse_format(path: Path, number: int, words: list[str]) -> Encoding:
    for encoding in get_args(Encoding):
        if words == [encoding, "1.0"]:
            return encoding
    expected = f"one of {', '.join(get_args(Encoding))} and the version 1.0"
    raise _bad_line(path, number, " ".join(["format", *words]), expected)


def _parse_element(path: Path, number: int, words: list[str]) -> Element:
    if len(words) != 2 or not words[1].isascii() or not words[1].isdigit() or len(words[1]) > 18:
        line = " ".join(["element", *words])
        raise _bad_line(path, number, line, "`element NAME COUNT` with a count of 0 or more")
    return Element(words[0], int(words[1]), (), has_lists=False)


def _add_property(path: Path, number: int, words: list[str], element: Element) -> Element:
    line = " ".join(["property", *words])
    if words[:1] == ["list"]:
        if len(words) != 4 or words[1] not in _TYPE_CODES or words[2] not in _TYPE_CODES:
            raise _bad_line(path, number, line, "`property list TYPE TYPE NAME`")
        return Element(element.name, element.count, element.properties, has_lists=True)
    if len(words) != 2 or words[0] not in _TYPE_CODES:
        raise _bad_line(path, number, line, f"a type among {', '.join(_TYPE_CODES)} and a name")
    if words[1] in element.names:
        raise _bad_line(path, number, line, "each property once")
    properties = (*element.properties, (words[1], _TYPE_CODES[words[0]]))
    return Element(element.name, element.count, properties, element.has_lists)
