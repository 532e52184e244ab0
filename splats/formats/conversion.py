"""One splat file to another, with a report of what that cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..scene import SplatScene
from . import find_format, in_frame, name_of, open_source
from .cameras import automatic_cameras
from .compare import measure_loss
from .contract import Source, refuse_existing
from .edits import Edits, edited
from .rendered import pictures_psnr, render_in_fresh_process, render_pictures
from .sources import InMemory, collect

MAX_RENDERED = 3_000_000
"""Scenes with more Gaussians are converted in bounded memory and not rendered."""


@dataclass(frozen=True)
class Pictures:
    """Size and number of the pictures by which source and file are compared."""

    count: int = 6
    """Cameras; 0 renders nothing."""
    width: int = 480
    """Pixels."""
    height: int = 360
    """Pixels."""


@dataclass(frozen=True)
class Conversion:
    """What was written, and how it compares with its source after the edits."""

    output: Path
    """The file or folder."""
    format_name: str
    """As in `formats()`."""
    num_primitives: int
    """Gaussians in it."""
    sh_degree: int
    """Of the source after the edits; what the format dropped is in `notes`."""
    num_bytes: int
    """Its size on disk."""
    source_bytes: int
    """Size of what it was made from."""
    max_errors: Mapping[str, float]
    """Largest absolute error by attribute, see `compare.Errors`."""
    mean_errors: Mapping[str, float]
    """Mean absolute error by attribute."""
    render_psnr: float | None
    """PSNR of pictures of the file, taken by a fresh process, against the source's; decibels, at
    most `rendered.MAX_PSNR`. None where nothing was rendered."""
    encode_seconds: float
    """Time to write."""
    decode_seconds: float | None
    """Time in which a fresh process read the file; None where nothing was rendered."""
    notes: tuple[str, ...] = ()
    """Sentences on what the format could not hold."""
    pictures: tuple[Float[Tensor, "V H W 3"], Float[Tensor, "V H W 3"]] | None = field(
        default=None, repr=False
    )
    """Of the source and of the file, in [0, 1]."""

    @property
    def bits_per_gaussian(self) -> float:
        """8 num_bytes / num_primitives; 0 for an empty scene."""
        return 8 * self.num_bytes / max(1, self.num_primitives)

    def summary(self) -> dict[str, Any]:
        """The keys of `fieldwright convert --json`."""
        return {
            "num_bytes": self.num_bytes,
            "source_bytes": self.source_bytes,
            "num_primitives": self.num_primitives,
            "render_psnr": self.render_psnr,
            "encode_seconds": self.encode_seconds,
            "decode_seconds": self.decode_seconds,
            "output": str(self.output),
            "format": self.format_name,
            "sh_degree": self.sh_degree,
            "bits_per_gaussian": self.bits_per_gaussian,
            "max_errors": dict(self.max_errors),
            "mean_errors": dict(self.mean_errors),
            "notes": list(self.notes),
        }


def convert(
    path: Path,
    output: Path,
    *,
    to: str | None = None,
    frame: str | None = None,
    first: float | None = None,
    edits: Edits | None = None,
    options: Any = None,
    pictures: Pictures | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write the scene in `path` as another file and compare the two.

    Scenes up to `MAX_RENDERED` Gaussians are held in memory; larger ones go through in chunks.

    Args:
        path: A splat file or folder of any installed format.
        output: Where to; its ending tells the format unless `to` does.
        to: Name of a format, as in `formats()`.
        frame: Axes of `path` where it does not say or is wrong.
        first: Share of the bytes of an asset to look at, see `open_source`.
        edits: What to keep and how to move it; None changes nothing.
        options: Of the target format's `Options`.
        pictures: How to compare by rendering; None takes the defaults.
        overwrite: Replace an existing output.

    Raises:
        FileExistsError: `output` exists and `overwrite` is False.
        ValueError: Malformed input, unknown format, edits out of range or that leave nothing.
    """
    target = find_format(output, name=to, writing=True)
    refuse_existing(output, overwrite=overwrite)
    if output.exists() and output.resolve() == path.resolve():
        raise ValueError(f"`output` is the input {path}; choose another name.")
    original = open_source(path, frame=frame, first=first)
    source = edited(original, edits or Edits())
    if source.num_primitives == 0:
        raise ValueError(f"{path}: no Gaussians are left; keep more with other edits.")
    fits = source.num_primitives <= MAX_RENDERED
    if fits and source is not original:
        source = InMemory(collect(source), source.frame, source.antialiased, source.model)
    start = time.perf_counter()
    report = target.write(source, output, options=options, overwrite=overwrite)
    encode_seconds = time.perf_counter() - start
    if report.max_errors is None:
        report = measure_loss(source, report, target)
    psnr, seconds, images = None, None, None
    pictures = pictures or Pictures()
    if fits and pictures.count:
        psnr, seconds, images = _compare_pictures(source, output, name_of(target), pictures)
    written = source.num_primitives if report.order is None else len(report.order)
    return Conversion(
        output=output,
        format_name=name_of(target),
        num_primitives=written,
        sh_degree=source.sh_degree,
        num_bytes=report.num_bytes,
        source_bytes=size_of(path),
        max_errors=report.max_errors or {},
        mean_errors=report.mean_errors,
        render_psnr=psnr,
        encode_seconds=encode_seconds,
        decode_seconds=seconds,
        notes=report.notes,
        pictures=images,
    )


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _compare_pictures(
    source: Source, output: Path, format_name: str, pictures: Pictures
) -> tuple[float, float, tuple[Tensor, Tensor]]:
    """PSNR, seconds to read, and the pictures of source and file."""
    scene = SplatScene(collect(in_frame(source)), source.antialiased)
    cameras = automatic_cameras(scene, pictures.count, width=pictures.width, height=pictures.height)
    before = render_pictures(scene, cameras)
    after = render_in_fresh_process(output, cameras, format_name=format_name)
    return pictures_psnr(before, after.images), after.decode_seconds, (before, after.images)
