"""The header of a PLY file: elements, their properties and where the data starts.

Reference: Greg Turk, "The PLY Polygon File Format", 1994.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from .contract import FormatError

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

    def element(self, name: str) -> Element | None:
        """The element of that name, if there is one."""
        return next((item for item in self.elements if item.name == name), None)


class _Line(NamedTuple):
    """A line of the header and where it is."""

    path: Path
    number: int
    offset: int
    text: str

    def fault(self, expected: str) -> FormatError:
        found = f"line {self.number}: expected {expected}, got {self.text[:80]!r}."
        return FormatError(self.path, found, field="header", offset=self.offset)


def read_header(path: Path) -> Header:
    """Parse and check the header of `path`.

    Raises:
        FormatError: Not a PLY file or a malformed header, with the line's number and offset.
    """
    with path.open("rb") as file:
        data = file.read(MAX_HEADER_BYTES)
    if not data:
        message = "the file is empty; expected a PLY file that starts with `ply`."
        raise FormatError(path, message, field="header", offset=0)
    if data.split(b"\n", 1)[0].rstrip(b"\r ") != b"ply":
        message = f"expected the line `ply`, got {data[:16]!r}; this is not a PLY file."
        raise FormatError(path, message, field="header", offset=0)
    lines, end = _split_lines(path, data)
    encoding: Encoding | None = None
    comments: list[str] = []
    elements: list[Element] = []
    for line in lines[1:-1]:
        keyword, _, rest = line.text.partition(" ")
        words = rest.split()
        if keyword in ("comment", "obj_info"):
            comments.append(rest.strip())
        elif keyword == "format":
            encoding = _parse_format(line, words)
        elif keyword == "element":
            elements.append(_parse_element(line, words))
        elif keyword == "property":
            if not elements:
                raise line.fault("`element` before the first `property`")
            elements[-1] = _add_property(line, words, elements[-1])
        elif line.text.strip():
            raise line.fault("format, element, property, comment or end_header")
    if encoding is None:
        message = "the header has no `format` line; the file is damaged."
        raise FormatError(path, message, field="format", offset=0)
    return Header(encoding, tuple(elements), tuple(comments), end, len(lines))


def _split_lines(path: Path, data: bytes) -> tuple[list[_Line], int]:
    """Header lines from `ply` to `end_header`, and the offset after them."""
    end = re.search(rb"\nend_header[ \r]*\n", data)
    if end is None:
        message = (
            f"no such line in the first {len(data)} bytes; the file is truncated or is not a PLY "
            "file."
        )
        raise FormatError(path, message, field="end_header", offset=len(data))
    lines: list[_Line] = []
    offset = 0
    for number, raw in enumerate(data[: end.end()].split(b"\n")[:-1], start=1):
        try:
            text = raw.decode("utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            message = f"line {number} is not text; the file is damaged."
            place = offset + error.start
            raise FormatError(path, message, field="header", offset=place) from None
        lines.append(_Line(path, number, offset, text))
        offset += len(raw) + 1
    return lines, end.end()


def _parse_format(line: _Line, words: list[str]) -> Encoding:
    for encoding in get_args(Encoding):
        if words == [encoding, "1.0"]:
            return encoding
    raise line.fault(f"one of {', '.join(get_args(Encoding))} and the version 1.0")


def _parse_element(line: _Line, words: list[str]) -> Element:
    if len(words) != 2 or not words[1].isascii() or not words[1].isdigit() or len(words[1]) > 18:
        raise line.fault("`element NAME COUNT` with a count of 0 or more")
    return Element(words[0], int(words[1]), (), has_lists=False)


def _add_property(line: _Line, words: list[str], element: Element) -> Element:
    if words[:1] == ["list"]:
        if len(words) != 4 or words[1] not in _TYPE_CODES or words[2] not in _TYPE_CODES:
            raise line.fault("`property list TYPE TYPE NAME`")
        return Element(element.name, element.count, element.properties, has_lists=True)
    if len(words) != 2 or words[0] not in _TYPE_CODES:
        raise line.fault(f"a type among {', '.join(_TYPE_CODES)} and a name")
    if words[1] in element.names:
        raise line.fault("each property once")
    properties = (*element.properties, (words[1], _TYPE_CODES[words[0]]))
    return Element(element.name, element.count, properties, element.has_lists)
