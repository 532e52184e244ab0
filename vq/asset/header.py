"""The JSON header: what the file holds, in which frame, made of what, and by whom."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import HeaderError
from .graph import Coded, GraphParser, Node, leaves
from .layout import (
    DIGEST_BYTES,
    MAX_ARRAYS,
    MAX_DEPTH,
    MAX_FILE_BYTES,
    MAX_HEADER_BYTES,
    MAX_SECTIONS,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-/]{0,63}", re.ASCII)
_ZLIB = b"x"  # how a zlib stream of the usual window begins, and JSON never does
_FIELDS = {"kind", "frame", "properties", "provenance", "sections", "arrays"}


@dataclass(frozen=True)
class Section:
    """One run of bytes in the file."""

    name: str
    """Unique within the file."""
    num_bytes: int
    """Its length, padding aside."""
    digest: bytes
    """BLAKE2b of its bytes, 8 bytes long."""


@dataclass(frozen=True)
class Header:
    """What stands in front of the sections."""

    kind: str
    """Kind of representation, for example "splats"."""
    frame: Mapping[str, Any]
    """Coordinate frame, in the terms of the kind."""
    sections: tuple[Section, ...]
    """In file order: the most important first."""
    arrays: Mapping[str, Node]
    """How each array comes out of the sections."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Further facts, in the terms of the kind."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Which program made it, from what, how."""

    def to_bytes(self) -> bytes:
        """The header as a file holds it: UTF-8 JSON without white space.

        Raises:
            ValueError: A value that strict JSON cannot hold, or too much of it.
        """
        value = {
            "kind": self.kind,
            "frame": dict(self.frame),
            "properties": dict(self.properties),
            "provenance": dict(self.provenance),
            "sections": [
                {"name": item.name, "bytes": item.num_bytes, "digest": item.digest.hex()}
                for item in self.sections
            ],
            "arrays": {name: node.to_json() for name, node in self.arrays.items()},
        }
        text = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
        parse_header(text)  # whatever is written can be read
        return min(text, zlib.compress(text, 9), key=len)


def parse_header(data: bytes) -> Header:
    """The header in `data`, JSON as it is or compressed by zlib.

    Raises:
        HeaderError: No strict JSON, a field that is missing, unknown or of the wrong type, or a
            bound exceeded.
    """
    value = _parse_json(_decompressed(data) if data[:1] == _ZLIB else data)
    if not isinstance(value, dict) or value.keys() != _FIELDS:
        found = sorted(value) if isinstance(value, dict) else value
        raise HeaderError(f"the header must hold {sorted(_FIELDS)}, got {found!r:.120}.")
    for name in ("frame", "properties", "provenance"):
        if not isinstance(value[name], dict):
            raise HeaderError(f"`{name}` must be an object, got {value[name]!r:.60}.")
    sections = _parse_sections(value["sections"])
    arrays = value["arrays"]
    if not isinstance(arrays, dict) or len(arrays) > MAX_ARRAYS:
        raise HeaderError(f"`arrays` must be an object of at most {MAX_ARRAYS} entries.")
    parser = GraphParser({section.name for section in sections})
    graph = {_name(name, "arrays"): parser.parse(node) for name, node in arrays.items()}
    _check_leaves_agree(graph)
    return Header(
        kind=_name(value["kind"], "kind"),
        frame=value["frame"],
        sections=sections,
        arrays=graph,
        properties=value["properties"],
        provenance=value["provenance"],
    )


def _parse_sections(entries: Any) -> tuple[Section, ...]:
    if not isinstance(entries, list) or len(entries) > MAX_SECTIONS:
        raise HeaderError(f"`sections` must be a list of at most {MAX_SECTIONS} entries.")
    sections: dict[str, Section] = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.keys() != {"name", "bytes", "digest"}:
            raise HeaderError(
                f"each of `sections` holds name, bytes and digest, got {entry!r:.90}."
            )
        name, length, digest = _name(entry["name"], "name"), entry["bytes"], entry["digest"]
        if name in sections:
            raise HeaderError(f"section `{name}` is listed twice.")
        if type(length) is not int or not 0 <= length <= MAX_FILE_BYTES:
            raise HeaderError(f"`bytes` of `{name}` must be 0 to 2^62, got {length!r:.60}.")
        if not isinstance(digest, str) or not re.fullmatch(
            f"[0-9a-f]{{{2 * DIGEST_BYTES}}}", digest, re.ASCII
        ):
            raise HeaderError(f"`digest` of `{name}` must be 16 hexadecimal digits.")
        sections[name] = Section(name, length, bytes.fromhex(digest))
    return tuple(sections.values())


def _check_leaves_agree(graph: Mapping[str, Node]) -> None:
    """A section that several arrays use is decoded once, so all must say the same of it."""
    known: dict[str, Coded] = {}
    for node in graph.values():
        for leaf in leaves(node):
            if known.setdefault(leaf.section, leaf) != leaf:
                raise HeaderError(f"section `{leaf.section}` is used in two different ways.")


def _name(value: Any, field_name: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise HeaderError(
            f"`{field_name}` must be a name of 1 to 64 letters, digits and _ . - /, "
            f"got {value!r:.80}."
        )
    return value


def _decompressed(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(data, MAX_HEADER_BYTES + 1)
    except zlib.error as error:
        raise HeaderError(f"the compressed header is damaged: {error}.") from None
    if len(text) <= MAX_HEADER_BYTES and not stream.eof:
        raise HeaderError("the compressed header is cut off.")
    if stream.unused_data:
        raise HeaderError("bytes follow the compressed header.")
    return text


def _parse_json(data: bytes) -> Any:
    """Strict JSON: UTF-8, finite numbers, no key twice, bounded depth."""
    if len(data) > MAX_HEADER_BYTES:
        raise HeaderError(f"the header has {len(data)} bytes; at most {MAX_HEADER_BYTES} are read.")
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise HeaderError(f"the header is nested deeper than {MAX_DEPTH}.") from None
    except HeaderError:
        raise
    except ValueError as error:
        raise HeaderError(f"the header is no JSON: {error}.") from None
    _check_depth(value)
    return value


def _refuse_constant(text: str) -> float:
    raise HeaderError(f"the header holds {text}, which is no JSON number.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise HeaderError(f"the header holds a number beyond float64: {text:.60}.")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise HeaderError("an object of the header holds a key twice.")
    return found


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise HeaderError(f"the header is nested deeper than {MAX_DEPTH}.")
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, str) and not item.isascii():
                _refuse_surrogates(item)
        level = [item for item in inner if isinstance(item, dict | list | str)]


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise HeaderError("a string of the header holds half a surrogate pair.") from None
