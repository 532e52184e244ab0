"""Checkpoints: the whole state of a run in one file that is either complete or absent."""

from __future__ import annotations

import errno
import logging
import pickle
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from .errors import CheckpointError, CorruptCheckpointError
from .files import TEMPORARY_SUFFIX, replacing

SCHEMA_VERSION = 1
_NAME = re.compile(r"step_(\d{8,})\.pt")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A moment between two steps."""

    step: int
    """Steps done."""
    elapsed: float
    """Seconds on the clock of the budget, all sessions together."""
    trainee: dict[str, Any]
    """What `Trainee.state_dict` returned."""
    random: dict[str, Any]
    """What `seeding.random_state` returned."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int = 2) -> Path:
    """Write `folder`/step_XXXXXXXX.pt and drop all but the `keep` newest checkpoints.

    Checkpoints of later steps go too: they are damaged ones that the run fell back from.

    Raises:
        CheckpointError: The disk is full or cannot be written; earlier checkpoints are intact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{checkpoint.step:08d}.pt"
    payload = {"schema": SCHEMA_VERSION} | {
        name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__
    }
    sink = None
    try:
        with replacing(path) as file:
            sink = _Sink(file)
            torch.save(payload, cast(IO[bytes], sink))
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else sink and sink.error
        if cause is None:
            raise
        raise CheckpointError(_explain_failed_write(path, cause, payload)) from error
    for other, step in _listed(folder):
        if step > checkpoint.step:
            other.unlink(missing_ok=True)
    for other, _ in _listed(folder)[keep:]:
        other.unlink(missing_ok=True)
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint onto the CPU, running none of its content as code.

    Raises:
        CorruptCheckpointError: Truncated, damaged (checksums of all parts are verified) or foreign.
        CheckpointError: Written by a version of this project that uses another schema.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load itself verifies no checksum
        if damaged is not None:
            raise CorruptCheckpointError(f"{path}: the checksum of its part {damaged} is wrong.")
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except (
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        EOFError,
        RuntimeError,
        ValueError,
    ) as error:
        if isinstance(error, CorruptCheckpointError):
            raise
        raise CorruptCheckpointError(f"{path} is not a complete checkpoint: {error}") from error
    names = set(Checkpoint.__dataclass_fields__)
    if not isinstance(payload, dict) or "schema" not in payload:
        raise CorruptCheckpointError(f"{path} is a torch file but not a checkpoint of a run.")
    if payload["schema"] != SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint schema {payload['schema']}, this version reads "
            f"{SCHEMA_VERSION}; resume with the version named in environment.json."
        )
    if missing := names - payload.keys():
        raise CorruptCheckpointError(f"{path} lacks {sorted(missing)}.")
    return Checkpoint(**{name: payload[name] for name in names})


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest readable checkpoint, None where there is no checkpoint at all.

    A damaged newest one is skipped with a warning. Remains of interrupted writes are removed.

    Raises:
        CorruptCheckpointError: There are checkpoints and all of them are damaged.
    """
    for remains in folder.glob("step_*.pt" + TEMPORARY_SUFFIX):
        remains.unlink(missing_ok=True)
    candidates = _listed(folder)
    for path, _ in candidates:
        try:
            return load_checkpoint(path)
        except CorruptCheckpointError as error:
            logger.warning("Falling back to the checkpoint before a damaged one: %s", error)
    if candidates:
        raise CorruptCheckpointError(
            f"all {len(candidates)} checkpoints in {folder} are damaged; "
            "start the run again with `overwrite`."
        )
    return None


def latest_checkpoint_path(folder: Path) -> Path | None:
    """The file of the newest checkpoint (not opened), None where there is none."""
    return next((path for path, _ in _listed(folder)), None)


class _Sink:
    """A file for `torch.save` that remembers the OSError which torch turns into a RuntimeError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _listed(folder: Path) -> list[tuple[Path, int]]:
    """All checkpoints (path, step), newest first."""
    found = [(path, _NAME.fullmatch(path.name)) for path in folder.glob("step_*.pt")]
    steps = [(path, int(match[1])) for path, match in found if match]
    return sorted(steps, key=lambda item: item[1], reverse=True)


def _explain_failed_write(path: Path, cause: OSError, payload: dict[str, Any]) -> str:
    if cause.errno not in _NO_ROOM:
        return f"cannot write the checkpoint {path}: {cause}."
    free = shutil.disk_usage(path.parent).free
    return (
        f"no room for the checkpoint {path}: it needs about {_num_bytes(payload) / 1e6:.1f} MB, "
        f"{free / 1e6:.1f} MB are free ({cause.strerror}). Earlier checkpoints are intact; "
        "make room and resume."
    )


def _num_bytes(value: Any) -> int:
    """Bytes of all tensors inside nested containers."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(_num_bytes(item) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(_num_bytes(item) for item in value)
    return 0
