"""The arrays of USD splat prims as a `Source`, parsed piece by piece.

As the schema says: half-precision arrays stand in for missing float ones, arrays that are too long
are cut and those that are too short ignored, with the schema's default in their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..gaussians import Gaussians
from ..sh import num_sh_bases
from .activation import log_scales_of, logits_of
from .contract import ROWS_PER_CHUNK
from .placement import placed
from .usd_output import TAG
from .usd_scene import COEFFICIENTS, DEGREE, SplatPrim, splat_prims
from .usd_text import Numbers, UsdText

FRAMES = {"Y": "RUB", "Z": "RFU"}
"""Axes of a stage by its up axis."""

_DEFAULTS = {
    "orientations": (1.0, 0.0, 0.0, 0.0),
    "scales": (1.0, 1.0, 1.0),
    "opacities": (1.0,),
    COEFFICIENTS: (0.0, 0.0, 0.0),
}
_RANGES = {"scales": (0.0, np.inf), "opacities": (0.0, 1.0)}
_COUNTED_BYTES = 1 << 24


@dataclass(frozen=True)
class UsdSource:
    """The splats of a USD layer as a `Source`."""

    layer: UsdText
    """The layer."""
    prims: tuple[SplatPrim, ...]
    """Its splat prims."""
    counts: tuple[int, ...]
    """Gaussians of each."""
    degrees: tuple[int, ...]
    """Degree of each."""

    @property
    def num_primitives(self) -> int:
        """Gaussians of all prims."""
        return sum(self.counts)

    @property
    def sh_degree(self) -> int:
        """Highest degree of any prim; the others are padded with zeros."""
        return max(self.degrees)

    @property
    def frame(self) -> str:
        """Axes by the stage's up axis, Y where it says none."""
        return FRAMES[_up_axis(self.layer)]

    @property
    def antialiased(self) -> bool:
        """Whether every prim has our attribute that says so."""
        return all(self._tag(prim, "antialiased") in (b"1", b"true") for prim in self.prims)

    @property
    def model(self) -> str:
        """ "2dgs" where every prim has our attribute that says so."""
        flat = all(self._tag(prim, "model") == b'"2dgs"' for prim in self.prims)
        return "2dgs" if flat else "3dgs"

    def _tag(self, prim: SplatPrim, name: str) -> object:
        return prim.prim.properties.get(TAG + name, ("", None, 0))[1]

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """All Gaussians, prim after prim, moved to where their prims are."""
        for prim, count, degree in zip(self.prims, self.counts, self.degrees, strict=True):
            names = ("positions", *_DEFAULTS)
            readers = {
                name: _Rows(self.layer, prim, name, count, num_sh_bases(degree)) for name in names
            }
            for start in range(0, count, rows):
                size = min(rows, count - start)
                read = {name: reader.take(size) for name, reader in readers.items()}
                yield placed(self._assemble(read, size, degree), prim.matrix)

    def _assemble(self, read: dict[str, Tensor], size: int, degree: int) -> Gaussians:
        sh = read[COEFFICIENTS].reshape(size, num_sh_bases(degree), 3)
        shN = torch.zeros(size, num_sh_bases(self.sh_degree) - 1, 3)
        shN[:, : num_sh_bases(degree) - 1] = sh[:, 1:]
        return Gaussians(
            means=read["positions"],
            quats=read["orientations"],
            log_scales=log_scales_of(read["scales"]),
            logit_opacities=logits_of(read["opacities"][:, 0]),
            sh0=sh[:, :1].contiguous(),
            shN=shN,
        )


class _Rows:
    """Rows of one array in order, or of its default."""

    def __init__(self, layer: UsdText, prim: SplatPrim, name: str, count: int, bases: int) -> None:
        self.layer, self.name = layer, f"{prim.prim.name}.{name}"
        self.width = 3 if name == "positions" else len(_DEFAULTS[name])
        self.range = _RANGES.get(name, (-np.inf, np.inf))
        self.repeats = bases if name == COEFFICIENTS else 1
        found = prim.array(name)
        self._pieces: Iterator[NDArray[np.float32]] | None = None
        if found is not None and _count_rows(layer, found[0], self.width) >= count * self.repeats:
            self._pieces, self._offset = layer.numbers(found[0], self.name), found[1]
        elif name == "positions":
            layer.fail(self.name, "the array is missing.", prim.prim.offset)
        self._left = np.empty(0, np.float32)
        self._default = np.array(_DEFAULTS.get(name, ()), np.float32)

    def take(self, rows: int) -> Float[Tensor, "rows width"]:
        """The next rows; those of harmonics hold all coefficients of a Gaussian."""
        needed = rows * self.repeats * self.width
        if self._pieces is None:
            values = np.tile(self._default, rows * self.repeats)
            return torch.from_numpy(values.reshape(rows, -1))
        parts, held = [self._left], len(self._left)
        while held < needed:
            piece = next(self._pieces, None)
            if piece is None:
                self.layer.fail(self.name, "rows of the array lack numbers.", self._offset)
            parts.append(piece)
            held += len(piece)
        values = np.concatenate(parts)
        values, self._left = values[:needed], values[needed:]
        low, high = self.range
        if not (np.isfinite(values) & (values >= low) & (values <= high)).all():
            message = f"expected finite numbers from {low} to {high}."
            self.layer.fail(self.name, message, self._offset)
        return torch.from_numpy(values.reshape(rows, -1).copy())


def open_layer(layer: UsdText) -> UsdSource:
    """The splats of a layer.

    Raises:
        FormatError: There are none, or their attributes are not those of the schema.
    """
    prims = splat_prims(layer)
    _up_axis(layer)
    counts, degrees = [], []
    for prim in prims:
        found = prim.array("positions")
        counts.append(0 if found is None else _count_rows(layer, found[0], 3))
        degrees.append(_degree(layer, prim, counts[-1]))
    return UsdSource(layer, tuple(prims), tuple(counts), tuple(degrees))


def _degree(layer: UsdText, prim: SplatPrim, count: int) -> int:
    """The declared degree (3 where none is), or 0 where the coefficients are too few for it."""
    _, value, offset = prim.prim.properties.get(DEGREE, ("", b"3", prim.prim.offset))
    if not isinstance(value, bytes) or value not in (b"0", b"1", b"2", b"3", b"4"):
        layer.fail(f"{prim.prim.name}.{DEGREE}", f"expected 0 to 4, got {value!r}.", offset)
    degree = int(value)
    found = prim.array(COEFFICIENTS)
    held = 0 if found is None else _count_rows(layer, found[0], 3)
    return degree if held >= count * num_sh_bases(degree) and count else 0


def _up_axis(layer: UsdText) -> str:
    value = layer.metadata.get("upAxis", b'"Y"')
    axis = value.decode(errors="replace").strip("\"'") if isinstance(value, bytes) else ""
    if axis not in FRAMES:
        layer.fail("upAxis", f"expected Y or Z, got {axis[:20]!r}.", 0)
    return axis


def _count_rows(layer: UsdText, found: Numbers, width: int) -> int:
    """Rows of an array by its brackets or commas."""
    mark = b"(" if width > 1 else b","
    count = 0
    for start in range(found.start, found.stop, _COUNTED_BYTES):
        count += bytes(layer.text[start : min(start + _COUNTED_BYTES, found.stop)]).count(mark)
    if width > 1:
        return count
    end = bytes(layer.text[max(found.start, found.stop - 64) : found.stop]).rstrip()
    return count + (bool(end) and not end.endswith(b","))
