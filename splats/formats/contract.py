"""What a splat file format offers, and what reading and writing report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int64
from torch import Tensor

from ..gaussians import Gaussians

HOUSE_FRAME = "RDF"
"""Axes of `Gaussians` in memory: +X right, +Y down, +Z forward, as COLMAP and 3DGS training."""
ROWS_PER_CHUNK = 1 << 16
"""Gaussians in memory at a time while streaming: 15 MB at degree 3."""

_LONGEST_MESSAGE = 1000


class FormatError(ValueError):
    """A malformed file: which one, which field of it, and where."""

    def __init__(self, path: Path, message: str, *, field: str, offset: int | None = None) -> None:
        """
        Args:
            path: The file.
            message: What was found, what was expected and what to do, a sentence.
            field: The part of the file at fault, by its name in the format's description.
            offset: Byte where it lies; None where no single byte does (a missing part).
        """
        if len(message) > _LONGEST_MESSAGE:  # quotes from damaged files have no bound
            message = f"{message[:_LONGEST_MESSAGE]}..."
        place = "" if offset is None else f"byte {offset}: "
        super().__init__(f"{path}: {place}`{field}`: {message}")
        self.path, self.field, self.offset = path, field, offset


@runtime_checkable
class Source(Protocol):
    """N Gaussians that can be gone through in chunks, any number of times, in bounded memory."""

    @property
    def num_primitives(self) -> int:
        """N."""
        ...

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics of every chunk, 0 to 4."""
        ...

    @property
    def frame(self) -> str:
        """Directions of +X, +Y and +Z, such as "RDF" (right or left, up or down, front or back)."""
        ...

    @property
    def antialiased(self) -> bool:
        """True where the scene was trained with the opacity compensation of Mip-Splatting."""
        ...

    @property
    def model(self) -> str:
        """ "3dgs", or "2dgs" for flat Gaussians without a third axis."""
        ...

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """All Gaussians in order, at most `rows` at a time, on the CPU, in `frame`."""
        ...


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
    """Directions of +X, +Y and +Z, such as "RDF"."""
    sections: Mapping[str, int]
    """Bytes of each part of the file, in file order; they add up to the file's size."""
    model: str = "3dgs"
    """"3dgs", or "2dgs" for flat Gaussians."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else the header says, such as a version or the generating program."""


@dataclass(frozen=True)
class LossReport:
    """What a written file lost against the Gaussians it was written from."""

    path: Path
    """The file."""
    num_bytes: int
    """Its size on disk."""
    max_errors: Mapping[str, float] | None = field(default_factory=dict)
    """Largest absolute difference of each attribute that is not stored exactly; None: unmeasured.
    Empty from writers that store identical bits."""
    mean_errors: Mapping[str, float] = field(default_factory=dict)
    """Mean absolute difference of the same attributes."""
    order: Int64[Tensor, "M"] | None = None
    """Row i of the file is row `order[i]` of the source; None: the same order and number."""
    notes: tuple[str, ...] = ()
    """Sentences on what the format could not hold: "3 log scales below -10 were raised.\""""

    @property
    def lossless(self) -> bool:
        """True where reading the file gives back identical bits."""
        return self.max_errors is not None and not any(self.max_errors.values())


@runtime_checkable
class Progressive(Protocol):
    """A format whose files show something before all of them is there."""

    def open_prefix(self, path: Path, *, first: float) -> Source:
        """The Gaussians within the share `first`, in (0, 1], of a file's bytes.

        Raises:
            ValueError: Another share, or a file whose beginning shows nothing (`FormatError`).
        """
        ...


@runtime_checkable
class Format(Protocol):
    """One splat file format; a class found through the entry points `fieldwright.formats`."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Lower-case endings of file names: ".ply", ".compressed.ply", or whole names
        ("meta.json"), by which a folder that holds such a file is found too."""
        ...

    @property
    def magic(self) -> bytes:
        """The first bytes of every such file; empty where there are none."""
        ...

    @property
    def Options(self) -> type[Any]:
        """Frozen dataclass of what a writer lets one choose; works unedited."""
        ...

    def open(self, path: Path) -> Source:
        """The Gaussians in `path`, in the file's own frame, read while they are gone through.

        Raises:
            FormatError: A malformed file, here or while its chunks are read.
        """
        ...

    def write(
        self, source: Source, path: Path, *, options: Any = None, overwrite: bool = False
    ) -> LossReport:
        """Write `source`, converted from its frame to that of the format.

        Args:
            source: Gone through once or several times; never held in memory whole.
            path: Where to; moved into place once complete (`runs.files.replacing`).
            options: An instance of `Options`; None takes the defaults.
            overwrite: Replace an existing file.

        Returns:
            The order of the rows and notes; `max_errors` None unless the format is lossless
            (`compare.measure_loss` reads the file again and fills it in).

        Raises:
            FileExistsError: `path` exists and `overwrite` is False.
            ValueError: The format cannot hold the scene; the message says what to do.
        """
        ...

    def summarize(self, path: Path) -> FileSummary:
        """What the header of `path` says."""
        ...


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise where writing `path` would replace a file unasked, and make its folder.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists; choose another name or pass overwrite=True (--overwrite)."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
