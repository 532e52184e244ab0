"""What a splat file format offers, and what reading and writing report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..gaussians import Gaussians


@dataclass(frozen=True)
class FileSummary:
    """What a file's header says; the payload is not read."""

    num_primitives: int
    """Number of Gaussians."""
    sh_degree: int
    """Degree of the spherical harmonics, 0 to 4."""
    antialiased: bool
    """True where the scene was trained with the opacity compensation of Mip-Splatting."""
    frame: str
    """Coordinate frame in words."""
    sections: Mapping[str, int]
    """Bytes of each part of the file, in file order; they add up to the file's size."""


@dataclass(frozen=True)
class LossReport:
    """What a written file lost against the Gaussians it was written from."""

    path: Path
    """The file."""
    num_bytes: int
    """Its size on disk."""
    max_errors: Mapping[str, float] = field(default_factory=dict)
    """Largest absolute difference of each attribute that is not stored exactly."""

    @property
    def lossless(self) -> bool:
        """True where reading the file gives back identical bits."""
        return not any(self.max_errors.values())


@runtime_checkable
class Format(Protocol):
    """One splat file format; a class found through the entry points `fieldwright.formats`."""

    suffixes: tuple[str, ...]
    """Lower-case file name endings, each with its dot."""
    magic: bytes
    """The first bytes of every such file."""

    def load(self, path: Path) -> Gaussians:
        """The Gaussians in `path`; a malformed file raises `ValueError`."""
        ...

    def save(
        self,
        gaussians: Gaussians,
        path: Path,
        *,
        overwrite: bool = False,
        antialiased: bool = False,
    ) -> LossReport:
        """Write `gaussians`; an existing file raises `FileExistsError` unless `overwrite`."""
        ...

    def summarize(self, path: Path) -> FileSummary:
        """What the header of `path` says."""
        ...
