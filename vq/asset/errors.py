"""What is wrong with an asset file, and where."""

from __future__ import annotations


class AssetError(ValueError):
    """An asset file that no writer wrote, or that this version cannot read.

    Attributes:
        problem: What is wrong, without the place.
        file: Name of the file.
        section: Name of the section, "header" for what precedes the sections.
        offset: Byte of the file where the fault was met.
    """

    def __init__(self, message: str, *, file: str, section: str, offset: int) -> None:
        super().__init__(f"{file}: section `{section}`, byte {offset}: {message}")
        self.problem = message
        self.file = file
        self.section = section
        self.offset = offset


class HeaderError(ValueError):
    """A fault inside the header's JSON; the reader adds file and offset."""
