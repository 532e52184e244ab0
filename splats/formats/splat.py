"""The `.splat` file of antimatter15's viewer: 32 bytes per Gaussian and nothing else.

Position and linear scale as floats, color and opacity as bytes, then the rotation (w, x, y, z) as
bytes b for (b - 128) / 128. No header, no spherical harmonics; axes as in PLY. Rows come by
descending volume times opacity, so that the start of a file looks like the whole.

Reference: github.com/antimatter15/splat, convert.py and main.js.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from runs.files import replacing

from ..gaussians import Gaussians
from .contract import (
    HOUSE_FRAME,
    ROWS_PER_CHUNK,
    FileSummary,
    FormatError,
    LossReport,
    Source,
    refuse_existing,
)
from .frames import in_frame
from .importance import importance
from .quantization import alpha_bytes, color_bytes, logits_of_bytes, sh0_of_bytes, unit_quats
from .sources import Reordered, random_access

ROW = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])
"""One Gaussian."""
_OFFSETS = {"means": 0, "scales": 12}


@dataclass(frozen=True)
class SplatOptions:
    """What a writer of `.splat` lets one choose."""

    sort: bool = True
    """Most visible Gaussians first, as viewers that draw while they download expect."""


class SplatSource:
    """The Gaussians of a `.splat` file as a `Source`.

    Raises:
        FormatError: The size is no multiple of 32 bytes.
    """

    frame = HOUSE_FRAME
    antialiased = False
    model = "3dgs"
    sh_degree = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        size = path.stat().st_size
        if size % ROW.itemsize:
            message = (
                f"expected a multiple of {ROW.itemsize} bytes, got {size}; the file is truncated "
                "or of another format."
            )
            offset = size - size % ROW.itemsize
            raise FormatError(path, message, field="rows", offset=offset)
        self.num_primitives = size // ROW.itemsize

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """See `Source.chunks`.

        Raises:
            FormatError: A position is not finite, or a scale negative or not finite.
        """
        for start in range(0, self.num_primitives, rows):
            part = np.fromfile(self.path, ROW, rows, offset=start * ROW.itemsize)
            self._check("means", part, ~np.isfinite(part["means"]), start)
            wrong = ~(np.isfinite(part["scales"]) & (part["scales"] >= 0))
            self._check("scales", part, wrong, start)
            with np.errstate(divide="ignore"):
                log_scales = np.log(part["scales"])
            quats = torch.from_numpy((part["quats"].astype(np.float32) - 128) / 128)
            yield Gaussians(
                means=torch.from_numpy(np.ascontiguousarray(part["means"])),
                quats=torch.from_numpy(unit_quats(quats).astype(np.float32)),
                log_scales=torch.from_numpy(log_scales),
                logit_opacities=torch.from_numpy(logits_of_bytes(part["rgba"][:, 3])),
                sh0=torch.from_numpy(sh0_of_bytes(part["rgba"][:, :3])),
                shN=torch.zeros(len(part), 0, 3),
            )

    def _check(self, field: str, part: NDArray[Any], wrong: NDArray[Any], start: int) -> None:
        if not wrong.any():
            return
        row, column = divmod(int(wrong.argmax()), 3)
        offset = (start + row) * ROW.itemsize + _OFFSETS[field] + 4 * column
        message = (
            f"of Gaussian {start + row} must be finite, and no scale negative, "
            f"got {part[field][row, column]}; this may be a file of another format."
        )
        raise FormatError(self.path, message, field=field, offset=offset)


class SplatFormat:
    """The `.splat` file as a `Format`."""

    suffixes = (".splat",)
    magic = b""
    Options = SplatOptions

    def open(self, path: Path) -> SplatSource:
        """See `SplatSource`."""
        return SplatSource(path)

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: SplatOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """See `Format.write`; harmonics are left out with a note."""
        refuse_existing(path, overwrite=overwrite)
        options = options or SplatOptions()
        source = in_frame(source)
        with random_access(source) as rows, replacing(path) as file:
            order = None
            if options.sort:
                weights = torch.cat([torch.empty(0), *map(importance, rows.chunks())])
                order = weights.argsort(descending=True, stable=True)
            for chunk in (rows if order is None else Reordered(rows, order)).chunks():
                file.write(_pack(chunk).tobytes())
        notes = []
        if source.sh_degree:
            notes.append("Harmonics above degree 0 were left out: colors no longer shift.")
        if source.antialiased:
            notes.append("The format cannot tell that the scene was trained antialiased.")
        return LossReport(path, path.stat().st_size, None, order=order, notes=tuple(notes))

    def summarize(self, path: Path) -> FileSummary:
        """From the file's size alone."""
        count = SplatSource(path).num_primitives
        sections = {"positions": 12, "scales": 12, "colors": 4, "rotations": 4}
        return FileSummary(
            num_primitives=count,
            sh_degree=0,
            antialiased=False,
            frame=HOUSE_FRAME,
            sections={name: size * count for name, size in sections.items()},
        )


def _pack(chunk: Gaussians) -> NDArray[Any]:
    """Rows of `ROW`."""
    rows = np.empty(len(chunk), ROW)
    rows["means"] = chunk.means.numpy()
    # Beyond the range of float32 there is nothing to draw but infinities.
    rows["scales"] = chunk.log_scales.double().exp().clamp(max=3e38).numpy()
    rows["rgba"][:, :3] = color_bytes(chunk.sh0)
    rows["rgba"][:, 3] = alpha_bytes(chunk.logit_opacities)
    rows["quats"] = pack_quats(unit_quats(chunk.quats))
    return rows


def pack_quats(quats: Float[ndarray, "n 4"]) -> UInt8[ndarray, "n 4"]:
    """round(128 q) + 128, the sign of q chosen such that 1 need not be cut to 127 / 128."""
    flipped = np.where(quats.max(axis=1, keepdims=True) > 127.5 / 128, -quats, quats)
    return (np.rint(flipped * 128) + 128).clip(0, 255).astype(np.uint8)
