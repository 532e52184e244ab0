"""The sections of an asset file, read one at a time and checked."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from .errors import AssetError, HeaderError
from .header import Header, Section, parse_header
from .layout import (
    DIGEST_BYTES,
    MAGIC,
    MAX_HEADER_BYTES,
    PROLOGUE_BYTES,
    VERSION,
    Prologue,
    aligned,
    digest,
    header_digest,
)

HEADER = "header"
"""What errors call everything in front of the sections."""


@dataclass(frozen=True)
class _Place:
    """Where a section lies."""

    section: Section
    gap: int
    """Where the zero bytes in front of it start."""
    start: int
    """Where it starts itself."""

    @property
    def end(self) -> int:
        return self.start + self.section.num_bytes


class Container:
    """Random access to the sections of one file."""

    name: str
    """What errors call the file."""
    header: Header
    """What the file says of itself."""
    num_bytes: int
    """Length of the whole file, as its prologue states it."""
    held_bytes: int
    """Length of what is there: less than `num_bytes` for a prefix."""
    missing: tuple[str, ...]
    """Sections that a prefix does not hold completely, in file order."""

    def __init__(self, file: io.BufferedIOBase, name: str, *, allow_prefix: bool) -> None:
        self.name, self._file = name, file
        self.held_bytes = file.seek(0, io.SEEK_END)
        prologue = self._read_prologue()
        self.num_bytes = prologue.file_bytes
        if self.held_bytes > self.num_bytes:
            extra = self.held_bytes - self.num_bytes
            self.fail(HEADER, f"{extra} bytes follow the end of the file.", at=self.num_bytes)
        if self.held_bytes < self.num_bytes and not allow_prefix:
            self.fail(
                HEADER,
                f"the file has {self.num_bytes} bytes and only {self.held_bytes} are there; "
                "fetch it again, or open the prefix with allow_prefix=True "
                "(splats: convert --first 1).",
                at=self.held_bytes,
            )
        self.header = self._read_header(prologue)
        self._places = self._locate(PROLOGUE_BYTES + prologue.header_bytes)
        self.missing = tuple(
            name for name, place in self._places.items() if place.end > self.held_bytes
        )

    @property
    def sections(self) -> Mapping[str, int]:
        """Bytes of each section, in file order."""
        return {name: place.section.num_bytes for name, place in self._places.items()}

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of everything, prologue, header and gaps included; they add up to the file."""
        found = {HEADER: self.num_bytes - sum(self.sections.values())}
        return found | dict(self.sections)

    def read(self, name: str) -> bytes:
        """The bytes of one section; nothing else is read.

        Raises:
            KeyError: There is no such section.
            AssetError: It is missing from a prefix, or damaged.
        """
        if name not in self._places:
            raise KeyError(f"{self.name} has no section `{name}`; it has {list(self._places)}.")
        place = self._places[name]
        if name in self.missing:
            self.fail(name, "it is not within this truncated file.", at=self.held_bytes)
        self._file.seek(place.gap)
        data = self._file.read(place.end - place.gap)
        if len(data) != place.end - place.gap:
            self.fail(name, "the file became shorter while it was read.", at=place.gap + len(data))
        padding = place.start - place.gap
        if any(data[:padding]):
            self.fail(name, "the gap in front of it is not zero.", at=place.gap)
        if digest(payload := data[padding:]) != place.section.digest:
            self.fail(name, "its digest is wrong: the section is damaged.")
        return payload

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def fail(
        self, section: str, message: str, *, at: int | None = None, inside: int = 0
    ) -> NoReturn:
        """Raise an `AssetError` at byte `at`, or `inside` bytes into the section."""
        if at is None:
            at = (0 if section == HEADER else self._places[section].start) + inside
        raise AssetError(message, file=self.name, section=section, offset=at)

    def _read_prologue(self) -> Prologue:
        self._file.seek(0)
        data = self._file.read(PROLOGUE_BYTES)
        if not data.startswith(MAGIC[: max(1, len(data))]):
            self.fail(HEADER, f"this is no .fwa file: it starts with {data[:8]!r}.")
        if len(data) < PROLOGUE_BYTES:
            self.fail(
                HEADER, f"the file ends within its first {PROLOGUE_BYTES} bytes.", at=len(data)
            )
        prologue = Prologue.unpack(data)
        if prologue.version != VERSION:
            self.fail(
                HEADER,
                f"version {prologue.version} is unknown, this program reads version {VERSION}; "
                "update it.",
                at=len(MAGIC),
            )
        if prologue.header_bytes > MAX_HEADER_BYTES:
            self.fail(
                HEADER,
                f"a header of {prologue.header_bytes} bytes; at most {MAX_HEADER_BYTES} are read.",
                at=len(MAGIC) + 4,
            )
        return prologue

    def _read_header(self, prologue: Prologue) -> Header:
        self._file.seek(0)
        data = self._file.read(PROLOGUE_BYTES + prologue.header_bytes)
        if len(data) < PROLOGUE_BYTES + prologue.header_bytes:
            self.fail(HEADER, "the file ends within its header.", at=len(data))
        text = data[PROLOGUE_BYTES:]
        if header_digest(data, text) != prologue.digest:
            at = PROLOGUE_BYTES - DIGEST_BYTES
            self.fail(HEADER, "the header's digest is wrong: the header is damaged.", at=at)
        try:
            return parse_header(text)
        except HeaderError as error:
            self.fail(HEADER, str(error), at=PROLOGUE_BYTES)

    def _locate(self, header_end: int) -> dict[str, _Place]:
        """Sections follow each other, so none can overlap another or lie outside."""
        places: dict[str, _Place] = {}
        end = header_end
        for section in self.header.sections:
            places[section.name] = _Place(section, end, aligned(end))
            end = places[section.name].end
        if end != self.num_bytes:
            self.fail(
                HEADER,
                f"header and sections take {end} bytes, the prologue says {self.num_bytes}.",
                at=len(MAGIC) + 8,
            )
        return places
