"""The files of a SOG scene: in a folder, or bundled in a `.sog` archive (ZIP)."""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

from runs.files import TEMPORARY_SUFFIX, replacing

from .contract import FormatError

META = "meta.json"
_MAX_EXPANSION = 16  # WebP does not shrink in a ZIP; nothing honest expands further
_DAMAGED_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,  # of an entry that needs a later ZIP version, or is patched
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
)


@runtime_checkable
class SogFiles(Protocol):
    """Named files, read whole."""

    path: Path
    """The archive, or the folder's `meta.json`."""

    @property
    def num_bytes(self) -> int:
        """Size of the archive, or of `meta.json` and all images beside it."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of one file; a missing or damaged one raises `FormatError`."""
        ...

    def fail(self, name: str, message: str, *, field: str, offset: int = 0) -> FormatError:
        """The error for a fault in the file `name`."""
        ...


def open_files(path: Path) -> SogFiles:
    """The files beside `path` (a `meta.json` or the folder that holds one) or bundled in it."""
    if path.is_dir():
        path = path / META
    if path.suffix.lower() == ".json":
        return FolderFiles(path)
    return ArchiveFiles(path)


class FolderFiles:
    """The files beside a `meta.json`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def num_bytes(self) -> int:
        """Bytes of `meta.json` and of the images beside it."""
        images = self.path.parent.glob("*.webp")
        return sum(item.stat().st_size for item in (self.path, *images))

    def read(self, name: str) -> bytes:
        """The bytes of one file."""
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name or "\0" in name:
            raise self.fail(
                META, f"expected a file name inside the folder, got {name!r}", field="files"
            )
        path = self.path if name == META else self.path.parent / name
        if not path.is_file():
            raise self.fail(META, f"the file {name!r} is missing in {path.parent}", field="files")
        return path.read_bytes()

    def fail(self, name: str, message: str, *, field: str, offset: int = 0) -> FormatError:
        """The error for a fault in the file `name`."""
        path = self.path if name == META else self.path.parent / name
        return FormatError(path, f"{message}.", field=field, offset=offset)


class ArchiveFiles:
    """The files in a ZIP archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_bytes = path.stat().st_size
        try:
            with zipfile.ZipFile(path) as archive:
                self._entries = {item.filename: item for item in archive.infolist()}
        except _DAMAGED_ZIP as error:
            raise FormatError(
                path, f"damaged ZIP archive ({error}).", field="archive", offset=0
            ) from None

    def read(self, name: str) -> bytes:
        """The bytes of one entry."""
        entry = self._entries.get(name)
        if entry is None:
            raise self.fail(META, f"the file {name!r} is missing in the archive", field="files")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.fail(
                name,
                f"expected a stored or deflated entry, got compression {entry.compress_type}",
                field="compress_type",
            )
        if entry.compress_size > self.num_bytes:  # the reader makes room for as many
            raise self.fail(
                name,
                f"expected at most the archive's {self.num_bytes} bytes, got {entry.compress_size}",
                field="compress_size",
            )
        if entry.file_size > _MAX_EXPANSION * self.num_bytes:
            raise self.fail(
                name,
                f"expected at most {_MAX_EXPANSION} times the archive's {self.num_bytes} bytes, "
                f"got {entry.file_size}",
                field="file_size",
            )
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(entry)
        except _DAMAGED_ZIP as error:
            raise self.fail(name, f"damaged entry ({error})", field="data") from None

    def fail(self, name: str, message: str, *, field: str, offset: int = 0) -> FormatError:
        """The error for a fault in the entry `name`; the offset is that of the entry."""
        entry = self._entries.get(name)
        start = entry.header_offset if entry else 0
        return FormatError(
            self.path, f"{message}.", field=f"{name}: {field}", offset=start + offset
        )


@runtime_checkable
class SogOutput(Protocol):
    """Takes named files."""

    def write(self, name: str, data: bytes) -> None: ...


@contextmanager
def create_files(path: Path) -> Iterator[SogOutput]:
    """Somewhere to write files, all of them in place at `path` only when the block has ended.

    Args:
        path: Ends with `.sog` for an archive; else a folder, or the `meta.json` in one. A folder's
            `meta.json` is moved into place last, so that a folder that has one is complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".sog":
        with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
            yield _ArchiveOutput(archive)
        return
    folder = path.parent if path.suffix.lower() == ".json" else path
    temporary = folder.with_name(folder.name + TEMPORARY_SUFFIX)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield _FolderOutput(temporary)
        _move_files(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_files(source: Path, target: Path) -> None:
    """Move every file below `source` to its place below `target`; the outermost JSON file last."""
    files = [item for item in source.rglob("*") if item.is_file()]
    for file in sorted(files, key=lambda item: (item.suffix == ".json", -len(item.parts), item)):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)


class _FolderOutput:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class _ArchiveOutput:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive

    def write(self, name: str, data: bytes) -> None:
        # A fixed date makes equal scenes equal files; WebP gains nothing from deflate.
        entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        self.archive.writestr(entry, data, zipfile.ZIP_STORED)
