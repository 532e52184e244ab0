"""Sources of Gaussians: in memory, and spooled to a temporary file for access in any order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from mmap import ACCESS_READ, MADV_DONTNEED, MADV_RANDOM, mmap
from types import TracebackType

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ..gaussians import Gaussians
from ..sh import num_sh_bases
from .contract import HOUSE_FRAME, ROWS_PER_CHUNK, Source

_ROWS_PER_GATHER = 1 << 13  # touches two pages per row, 64 MB, before they are given back


@dataclass(frozen=True)
class InMemory:
    """Gaussians in memory as a `Source`."""

    gaussians: Gaussians
    """On any device; chunks are on the CPU."""
    frame: str = HOUSE_FRAME
    """Directions of +X, +Y and +Z."""
    antialiased: bool = False
    """True where the scene was trained with the opacity compensation of Mip-Splatting."""
    model: str = "3dgs"
    """"3dgs" or "2dgs"."""

    @property
    def num_primitives(self) -> int:
        """Number of Gaussians."""
        return len(self.gaussians)

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics."""
        return self.gaussians.sh_degree

    def gather(self, index: Int64[Tensor, "M"]) -> Gaussians:
        """The rows `index`, in that order, on the CPU."""
        chosen = self.gaussians[index.to(self.gaussians.means.device)]
        return Gaussians(*(_on_cpu(getattr(chosen, item.name)) for item in fields(chosen)))

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """Views of `gaussians`, at most `rows` Gaussians each."""
        for start in range(0, len(self.gaussians), rows):
            chunk = self.gaussians[start : start + rows]
            yield Gaussians(*(_on_cpu(getattr(chunk, item.name)) for item in fields(chunk)))


@dataclass(frozen=True)
class View:
    """What a source derived from another takes over from it; subclasses add frame and chunks."""

    source: Source
    """Where the Gaussians come from."""

    @property
    def num_primitives(self) -> int:
        """Number of Gaussians."""
        return self.source.num_primitives

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics."""
        return self.source.sh_degree

    @property
    def antialiased(self) -> bool:
        """As of the source."""
        return self.source.antialiased

    @property
    def model(self) -> str:
        """As of the source."""
        return self.source.model


class Spool:
    """A copy of a source in an unnamed temporary file, for access to rows in any order.

    Use it as a context manager; the file vanishes at the end. Rows are float32, 4 (14 + 3 K) bytes.
    """

    def __init__(self, source: Source, *, directory: str | None = None) -> None:
        """
        Args:
            source: Read once, here.
            directory: Where the temporary file goes; None: the system's folder for such files.
        """
        self.num_primitives = source.num_primitives
        self.sh_degree = source.sh_degree
        self.frame, self.antialiased, self.model = source.frame, source.antialiased, source.model
        self._width = width = 11 + 3 * num_sh_bases(self.sh_degree)
        self._file = tempfile.TemporaryFile(dir=directory)
        try:
            written = 0
            for chunk in source.chunks():
                self._file.write(_rows(chunk))
                written += len(chunk)
            self._file.write(bytes(1))  # an empty file cannot be mapped
            self._file.flush()
            if written != self.num_primitives:
                raise ValueError(
                    f"the source announced {self.num_primitives} Gaussians and gave {written}."
                )
            self._map = mmap(self._file.fileno(), 4 * width * written or 1, access=ACCESS_READ)
            self._map.madvise(MADV_RANDOM)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the disk space back."""
        self._map.close()
        self._file.close()

    def gather(self, index: Int64[Tensor, "M"]) -> Gaussians:
        """The rows `index`, in that order."""
        rows = index.numpy()
        found = np.empty((len(rows), self._width), np.float32)
        shape = (self.num_primitives, self._width)
        table = np.frombuffer(self._map, np.float32, self.num_primitives * self._width)
        table = table.reshape(shape)
        for start in range(0, len(rows), _ROWS_PER_GATHER):
            part = rows[start : start + _ROWS_PER_GATHER]
            np.take(table, part, axis=0, out=found[start : start + len(part)])
            self._map.madvise(MADV_DONTNEED)
        del table
        return _gaussians(found)

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """All rows in order."""
        for start in range(0, self.num_primitives, rows):
            yield self.gather(torch.arange(start, min(start + rows, self.num_primitives)))


@dataclass(frozen=True)
class Reordered(View):
    """Some rows of a source in another order, as a `Source`."""

    source: Spool | InMemory
    """Where the rows are; open as long as this is used."""
    order: Int64[Tensor, "M"]
    """Row i is row `order[i]` of the source."""

    @property
    def num_primitives(self) -> int:
        """Number of rows chosen."""
        return len(self.order)

    @property
    def frame(self) -> str:
        """Directions of +X, +Y and +Z."""
        return self.source.frame

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """The chosen rows, gathered chunk by chunk."""
        for start in range(0, len(self.order), rows):
            yield self.source.gather(self.order[start : start + rows])


@contextmanager
def random_access(source: Source) -> Iterator[Spool | InMemory]:
    """`source` with `gather`: itself where it is in memory, else a spool for as long as needed."""
    if isinstance(source, InMemory):
        yield source
        return
    with Spool(source) as spool:
        yield spool


def collect(source: Source) -> Gaussians:
    """All Gaussians of `source` in memory, in its frame."""
    if isinstance(source, InMemory):
        return source.gaussians
    chunks = list(source.chunks(max(1, source.num_primitives)))
    if len(chunks) == 1:
        return chunks[0]
    empty = _gaussians(np.empty((0, 11 + 3 * num_sh_bases(source.sh_degree)), np.float32))
    parts = [empty, *chunks]
    return Gaussians(
        *(torch.cat([getattr(part, item.name) for part in parts]) for item in fields(empty))
    )


def _on_cpu(values: Tensor) -> Tensor:
    return values.detach().cpu().float()


def _rows(chunk: Gaussians) -> bytes:
    """Rows [n, 11 + 3 K] of float32: the fields one after the other."""
    parts = [_on_cpu(getattr(chunk, item.name)) for item in fields(chunk)]
    parts = [part.reshape(len(chunk), part[:1].numel() if len(chunk) else 0) for part in parts]
    return torch.cat(parts, dim=1).numpy().tobytes()


def _gaussians(table: np.ndarray) -> Gaussians:
    rows = torch.from_numpy(table)
    means, quats, log_scales, logits, sh0, shN = rows.split(
        [3, 4, 3, 1, 3, table.shape[1] - 14], dim=1
    )
    return Gaussians(
        means.contiguous(),
        quats.contiguous(),
        log_scales.contiguous(),
        logits[:, 0].contiguous(),
        sh0.reshape(-1, 1, 3),
        shN.reshape(len(rows), shN.shape[1] // 3, 3),
    )
