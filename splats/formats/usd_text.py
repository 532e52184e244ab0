"""The text form of USD layers (`.usda`): prims, their properties and where number arrays lie.

Only what describes one layer by itself is read: no references, variants or time samples. Number
arrays are not parsed with the rest but noted by position, and read in pieces.

Reference: openusd.org, "USD Text File Format" (usda 1.0).
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from .contract import FormatError

HEADER = b"#usda 1.0"
"""The first bytes of every such layer."""

_TOKEN = re.compile(
    rb"""(?>[\s;]++|\#[^\n]*+)*+  # what separates; atomic, so that no text makes it slow
    (?: (?P<word>[A-Za-z0-9_:.+!-]+)
      | (?P<string>\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''
                   |"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<asset>@@@.*?@@@|@[^@\n]*@)
      | (?P<path><[^>\n]*>)
      | (?P<mark>[(){}\[\]=,]) )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBERS = re.compile(rb"\s*[-+0-9.(ni\]]")
_OPENING = {b"(": b")", b"[": b"]", b"{": b"}"}
_MAX_DEPTH = 64
_PIECE = 1 << 20
_SEPARATORS = bytes.maketrans(b"(),", b"   ")


@dataclass(frozen=True)
class Numbers:
    """An array of numbers in the text, not parsed yet."""

    start: int
    """Offset of the byte after its opening bracket."""
    stop: int
    """Offset of its closing bracket."""


Value = bytes | Numbers | list["Value"] | None
"""A word or string with its quotes, numbers, a list; None for dictionaries, which are skipped."""


@dataclass(frozen=True)
class Prim:
    """One prim of a layer."""

    kind: str
    """Type name, such as Xform; empty where there is none."""
    name: str
    """Its own name."""
    offset: int
    """Where it starts in the layer."""
    properties: dict[str, tuple[str, Value, int]] = field(default_factory=dict)
    """(type, value, offset) of each property by name."""
    children: list[Prim] = field(default_factory=list)
    """Prims inside it."""


class UsdText:
    """A layer in memory-mapped text.

    Args:
        path: The file.
        blame: The file that errors name; None for `path`.
        start: Where the layer starts in the file (inside a `.usdz`).
        size: Its bytes; None for all the rest.

    Raises:
        FormatError: It is no USD text, with field and byte offset.
    """

    def __init__(
        self, path: Path, *, start: int = 0, size: int | None = None, blame: Path | None = None
    ) -> None:
        self.path, self.start = blame or path, start
        self.is_converted = blame is not None
        stop = path.stat().st_size if size is None else start + size
        if stop == start:
            self.fail("header", "the file is empty; expected `#usda 1.0`.", 0)
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # A copy only inside archives, whose layers are small or not text.
        self.text: mmap.mmap | bytes = mapped if start == 0 and size is None else mapped[start:stop]
        if self.text[: len(HEADER)] != HEADER:
            self.fail("header", f"expected `#usda 1.0`, got {self.text[:16]!r}.", 0)
        self._at = len(HEADER)
        self.metadata: dict[str, Value] = {}
        self.prims: list[Prim] = []
        self._read_layer()

    def fail(self, name: str, message: str, offset: int) -> NoReturn:
        """Raise the error for a fault at `offset` of the layer."""
        raise FormatError(self.path, message, field=name, offset=self.start + offset)

    def numbers(self, found: Numbers, name: str) -> Iterator[NDArray[np.float32]]:
        """The numbers of an array in order, some at a time.

        Raises:
            FormatError: Something in it is not a number.
        """
        at = found.start
        while at < found.stop:
            end = min(at + _PIECE, found.stop)
            if end < found.stop:
                comma = self.text.rfind(b",", at, end)
                if comma < 0:
                    self.fail(name, "expected numbers with commas between them.", at)
                end = comma + 1
            words = bytes(self.text[at:end]).translate(_SEPARATORS).split()
            try:
                with np.errstate(over="ignore"):
                    yield np.array(words, dtype=np.bytes_).astype(np.float64).astype(np.float32)
            except ValueError as error:
                self.fail(name, f"expected numbers ({error}).", at)
            at = end

    def _next(self) -> tuple[str, bytes]:
        """(kind, text) of the next token; kind "end" at the end of the layer."""
        match = _TOKEN.match(self.text, self._at)
        if match is None:
            rest = bytes(self.text[self._at : self._at + (1 << 16)])
            if re.fullmatch(rb"(?>[\s;]++|#[^\n]*+)*+", rest):
                self._at = len(self.text)
                return "end", b""
            self.fail("syntax", f"cannot read {rest.lstrip()[:24]!r}.", self._at)
        self._at = match.end()
        kind = match.lastgroup or "end"
        return kind, match.group(kind)

    def _peek(self) -> bytes:
        at = self._at
        _, text = self._next()
        self._at = at
        return text

    def _expect(self, wanted: bytes) -> None:
        at = self._at
        _, text = self._next()
        if text != wanted:
            self.fail("syntax", f"expected {wanted.decode()!r}, got {text[:24]!r}.", at)

    def _read_layer(self) -> None:
        if self._peek() == b"(":
            self._next()
            self._read_metadata(self.metadata)
        while True:
            at = self._at
            kind, text = self._next()
            if kind == "end":
                return
            if text not in (b"def", b"over", b"class"):
                self.fail("syntax", f"expected `def`, got {text[:24]!r}.", at)
            self.prims.append(self._read_prim(at, 0))

    def _read_metadata(self, into: dict[str, Value]) -> None:
        """`name = value` lines up to the closing parenthesis; lone strings are comments."""
        while (text := self._next_in("metadata", self._at)) != b")":
            if text in (b"prepend", b"append", b"delete", b"add", b"reorder") or text[:1] in b"\"'":
                continue
            if self._peek() == b"=":
                self._next()
                into[text.decode(errors="replace")] = self._read_value(0)

    def _next_in(self, field_name: str, at: int) -> bytes:
        kind, text = self._next()
        if kind == "end":
            self.fail(field_name, "the file ends here; it is truncated.", at)
        return text

    def _read_prim(self, at: int, depth: int) -> Prim:
        if depth > _MAX_DEPTH:
            self.fail("prim", f"expected at most {_MAX_DEPTH} prims inside each other.", at)
        text = self._next_in("prim", at)
        kind = ""
        if text[:1] not in b"\"'":
            kind, text = text.decode(errors="replace"), self._next_in("prim", at)
        prim = Prim(kind, text.strip(b"\"'").decode(errors="replace"), at)
        if self._peek() == b"(":
            self._next()
            self._read_metadata({})
        self._expect(b"{")
        while True:
            start = self._at
            word = self._next_in(f"prim {prim.name}", start)
            if word == b"}":
                return prim
            if word in (b"def", b"over", b"class"):
                prim.children.append(self._read_prim(start, depth + 1))
            elif word == b"variantSet":
                self.fail("variantSet", "variants are not read; flatten the stage first.", start)
            else:
                self._read_property(prim, word, start)

    def _read_property(self, prim: Prim, word: bytes, at: int) -> None:
        while word in (b"custom", b"uniform", b"varying", b"prepend", b"append", b"delete", b"add"):
            word = self._next_in(f"prim {prim.name}", at)
        kind = word.decode(errors="replace")
        name = self._next_in(f"prim {prim.name}", at)
        if name == b"[":
            self._expect(b"]")
            kind, name = f"{kind}[]", self._next_in(f"prim {prim.name}", at)
        label = name.decode(errors="replace")
        value: Value = None
        start = self._at
        if self._peek() == b"=":
            self._next()
            value = self._read_value(0)
        if self._peek() == b"(":
            self._next()
            self._read_metadata({})
        if self._at == start and not re.fullmatch(r"[\w:.]+", label):
            self.fail("syntax", f"expected a property, got {word[:24]!r} {name[:24]!r}.", at)
        prim.properties[label] = (kind, value, at)

    def _read_value(self, depth: int) -> Value:
        at = self._at
        kind, text = self._next()
        if kind == "end" or depth > _MAX_DEPTH:
            self.fail("value", "expected a value that ends within the file.", at)
        if kind != "mark":
            return text
        if text == b"[" and _NUMBERS.match(self.text, self._at):
            stop = self.text.find(b"]", self._at)
            if stop < 0:
                self.fail("array", "the array has no closing bracket; the file is truncated.", at)
            found = Numbers(self._at, stop)
            self._at = stop + 1
            return found
        closing = _OPENING.get(text)
        if closing is None:
            self.fail("value", f"expected a value, got {text!r}.", at)
        items: list[Value] = []
        while True:
            peeked = self._peek()
            if peeked == closing:
                self._next()
                return None if text == b"{" else items
            if peeked == b",":
                self._next()
            elif text == b"{":
                self._skip_entry(at)
            else:
                items.append(self._read_value(depth + 1))

    def _skip_entry(self, at: int) -> None:
        """One entry of a dictionary or of time samples: words up to `=` or `,` and a value."""
        word = self._next_in("dictionary", at)
        if word == b"=":
            self._read_value(1)
        elif word in _OPENING and word != b"[":
            self.fail("dictionary", f"expected an entry, got {word!r}.", at)
