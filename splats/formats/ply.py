"""The standard 3DGS PLY file.

One row per Gaussian, float32 little-endian: x y z nx ny nz f_dc_* f_rest_* opacity scale_* rot_*,
all before activation (logit opacity, natural log of the standard deviations, quaternion wxyz).
`f_rest_*` is channel-major: first all red coefficients, then green, then blue. Axes are those of
the capture that the scene was trained on.

Reference: save_ply and load_ply of graphdeco-inria/gaussian-splatting, scene/gaussian_model.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from runs.files import replacing

from ..gaussians import Gaussians
from ..sh import SH_C0
from .contract import HOUSE_FRAME, FileSummary, LossReport, Source
from .frames import in_frame
from .ply_header import Element, Header, read_header
from .sources import InMemory, collect

FLAT_LOG_SCALE = -20.0
"""Log of the third standard deviation of 2DGS files, which store two: flat at any sane scale."""

_ROWS_PER_CHUNK = 1 << 16  # 16 MB of degree-3 rows in memory at a time
_MEANS = ("x", "y", "z")
_NORMALS = ("nx", "ny", "nz")
_SH0 = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALES = ("scale_0", "scale_1", "scale_2")
_QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
_COLORS = ("red", "green", "blue")


@dataclass(frozen=True)
class PlyOptions:
    """PLY files have nothing to choose."""


class PlyFormat:
    """The standard 3DGS PLY as a `Format`."""

    suffixes = (".ply",)
    magic = b"ply"

    Options = PlyOptions

    def open(self, path: Path) -> InMemory:
        """See `load`."""
        return InMemory(load(path), antialiased=_is_antialiased(read_header(path)))

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: PlyOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """See `save`."""
        return save(
            collect(in_frame(source)), path, overwrite=overwrite, antialiased=source.antialiased
        )

    def summarize(self, path: Path) -> FileSummary:
        """Sizes by attribute, from the header alone."""
        header = read_header(path)
        vertex = _vertex_element(path, header)
        coefficients = _count_rest(path, vertex)
        total = path.stat().st_size
        sections = {"header": header.num_bytes}
        if header.encoding == "ascii":
            sections["text"] = total - header.num_bytes
        else:
            row = vertex.dtype(header.encoding)
            for name in vertex.names:
                group = re.sub(r"_\d+$", "", name) if name not in _MEANS else "xyz"
                sections[group] = sections.get(group, 0) + row[name].itemsize * vertex.count
            other = total - sum(sections.values())
            if other > 0:
                sections["other elements"] = other
        return FileSummary(
            num_primitives=vertex.count,
            sh_degree=_degree(coefficients),
            antialiased=_is_antialiased(header),
            frame=HOUSE_FRAME,
            sections=sections,
        )


def load(path: str | Path) -> Gaussians:
    """The Gaussians of a 3DGS PLY file, on the CPU.

    Properties may come in any order and as any number type, in ASCII or binary of either byte
    order; unknown properties and elements are skipped. `red green blue` stand in for `f_dc_*`,
    and files without `scale_2` (2DGS) get a flat third axis.

    Raises:
        ValueError: Empty, truncated or malformed file, missing properties, NaN; the message has
            the path, the byte offset or line, and the field.
    """
    path = Path(path)
    header = read_header(path)
    vertex = _vertex_element(path, header)
    coefficients = _count_rest(path, vertex)
    has_sh0 = set(_SH0) <= set(vertex.names)
    _require_properties(path, vertex)
    table = _Table(path, header, vertex)
    if has_sh0:
        sh0 = table.columns(_SH0)
    else:
        full = 1.0 if dict(vertex.properties)["red"].startswith("f") else 255.0
        sh0 = ((table.columns(_COLORS) / full - 0.5) / SH_C0).astype(np.float32)
    rest = table.columns([f"f_rest_{index}" for index in range(3 * coefficients)])
    log_scales = np.full((vertex.count, 3), FLAT_LOG_SCALE, dtype=np.float32)
    stored = [name for name in _SCALES if name in vertex.names]
    log_scales[:, : len(stored)] = table.columns(stored, allow=(-np.inf,))
    shN = rest.reshape(vertex.count, 3, coefficients).transpose(0, 2, 1)
    return Gaussians(
        means=_tensor(table.columns(_MEANS)),
        quats=_tensor(table.columns(_QUATS)),
        log_scales=_tensor(log_scales),
        logit_opacities=_tensor(table.columns(["opacity"], allow=(-np.inf, np.inf))[:, 0]),
        sh0=_tensor(sh0[:, None, :]),
        shN=_tensor(shN),
    )


def save(
    gaussians: Gaussians,
    path: str | Path,
    *,
    overwrite: bool = False,
    antialiased: bool = False,
) -> LossReport:
    """Write the standard file; reading it gives back identical float32 bits.

    Args:
        gaussians: Written as they are, in the frame they are in.
        path: Where to; the file is moved into place once complete.
        overwrite: Replace an existing file.
        antialiased: Add the comment `SplatRenderMode: mip`, so that renderers apply the opacity
            compensation of Mip-Splatting.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
    """
    path = Path(path)
    coefficients = gaussians.shN.shape[1]
    rest = tuple(f"f_rest_{index}" for index in range(3 * coefficients))
    names = (*_MEANS, *_NORMALS, *_SH0, *rest, "opacity", *_SCALES, *_QUATS)
    lines = ["ply", "format binary_little_endian 1.0"]
    if antialiased:
        lines.append("comment SplatRenderMode: mip")
    lines.append(f"element vertex {len(gaussians)}")
    lines += [f"property float {name}" for name in names]
    lines.append("end_header")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists; choose another name or pass overwrite=True (--overwrite)."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(("\n".join(lines) + "\n").encode("ascii"))
        for start in range(0, len(gaussians), _ROWS_PER_CHUNK):
            rows = _rows(gaussians[start : start + _ROWS_PER_CHUNK])
            file.write(rows.data)
    return LossReport(path, path.stat().st_size)


def _rows(gaussians: Gaussians) -> np.ndarray:
    """File rows [N, P] of some Gaussians, little-endian float32."""
    parts = (
        gaussians.means,
        torch.zeros_like(gaussians.means),
        gaussians.sh0[:, 0],
        gaussians.shN.transpose(1, 2).flatten(1),
        gaussians.logit_opacities[:, None],
        gaussians.log_scales,
        gaussians.quats,
    )
    rows = torch.cat([part.detach().cpu().float() for part in parts], dim=1)
    return np.ascontiguousarray(rows.numpy(), dtype="<f4")


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def _is_antialiased(header: Header) -> bool:
    """Brush writes `SplatRenderMode: mip`, Postshot `antialiased 1`."""
    notes = [" ".join(comment.lower().split()) for comment in header.comments]
    return "splatrendermode: mip" in notes or "antialiased 1" in notes


def _degree(coefficients: int) -> int:
    return round((1 + coefficients) ** 0.5) - 1


def _vertex_element(path: Path, header: Header) -> Element:
    """The element that holds the Gaussians."""
    for element in header.elements:
        if element.name == "vertex":
            if element.has_lists:
                raise ValueError(f"{path}: `vertex` has a list property; this is no splat file.")
            if not element.properties:
                raise ValueError(f"{path}: `vertex` has no properties; the header is damaged.")
            return element
    found = ", ".join(element.name for element in header.elements) or "none"
    raise ValueError(f"{path}: expected an element `vertex`, got {found}.")


def _count_rest(path: Path, vertex: Element) -> int:
    """Coefficients per channel above degree 0: 0, 3, 8, 15 or 24."""
    rest = {name for name in vertex.names if name.startswith("f_rest_")}
    if len(rest) not in (0, 9, 24, 45, 72):
        raise ValueError(
            f"{path}: expected 0, 9, 24, 45 or 72 properties `f_rest_*` (degree 0 to 4), "
            f"got {len(rest)}."
        )
    missing = {f"f_rest_{index}" for index in range(len(rest))} - rest
    if missing:
        raise ValueError(f"{path}: property `{min(missing)}` is missing among {len(rest)} f_rest.")
    return len(rest) // 3


def _require_properties(path: Path, vertex: Element) -> None:
    names = set(vertex.names)
    if "packed_position" in names:
        raise ValueError(
            f"{path}: this is a PlayCanvas compressed PLY; expected the uncompressed 3DGS layout. "
            "Export it from its editor as an uncompressed PLY."
        )
    colors = _SH0 if not set(_COLORS) <= names else ()
    needed = (*_MEANS, *colors, "opacity", *_SCALES[:2], *_QUATS)
    missing = [name for name in needed if name not in names]
    if missing:
        plain = " It looks like a plain point cloud or mesh." if "scale_0" in missing else ""
        raise ValueError(
            f"{path}: `vertex` lacks the properties {', '.join(missing)} of a splat file.{plain}"
        )


class _Table:
    """The rows of the vertex element: [N, P] where all types agree, else a structured array."""

    def __init__(self, path: Path, header: Header, vertex: Element) -> None:
        self.path = path
        self.header = header
        self.vertex = vertex
        self.row = vertex.dtype(header.encoding)
        self.offset = header.num_bytes
        self.rows = self._read_ascii() if header.encoding == "ascii" else self._map_binary()

    def _elements_before(self) -> tuple[Element, ...]:
        return self.header.elements[: self.header.elements.index(self.vertex)]

    def _map_binary(self) -> np.ndarray:
        for element in self._elements_before():
            if element.has_lists:
                raise ValueError(
                    f"{self.path}: element `{element.name}` with lists stands before `vertex`; "
                    "write `vertex` first."
                )
            self.offset += element.count * element.dtype(self.header.encoding).itemsize
        size = self.path.stat().st_size
        needed = self.offset + self.vertex.count * self.row.itemsize
        if needed > size:
            held = max(0, size - self.offset) // self.row.itemsize
            raise ValueError(
                f"{self.path}: byte {size}: the file ends early; `element vertex "
                f"{self.vertex.count}` needs {needed} bytes and only {held} rows are there. "
                "The file is truncated or its count is wrong."
            )
        if self.vertex.count == 0:
            return np.empty(0, self.row)
        rows = np.memmap(self.path, self.row, "r", offset=self.offset, shape=(self.vertex.count,))
        types = {self.row[name] for name in self.vertex.names}
        if len(types) > 1:
            return rows
        return rows.view(types.pop()).reshape(self.vertex.count, -1)

    def _read_ascii(self) -> np.ndarray:
        count, width = self.vertex.count, len(self.vertex.properties)
        skipped = sum(element.count for element in self._elements_before())
        size = self.path.stat().st_size
        # Every value takes at least one digit and one separator.
        if skipped + 2 * count * width > size - self.offset + 1:
            raise ValueError(
                f"{self.path}: byte {size}: the file ends early; `element vertex {count}` needs "
                f"{count} lines of {width} values. The file is truncated or its count is wrong."
            )
        with self.path.open("rb") as file:
            file.seek(self.offset)
            lines = file.read().split(b"\n")[skipped : skipped + count]
        values = np.empty((count, width), dtype=np.float64)
        number = self.header.num_lines + skipped + 1
        for row, line in enumerate(lines):
            words = line.split()
            if len(words) != width:
                break
            try:
                values[row] = words
            except ValueError:
                raise ValueError(
                    f"{self.path}: line {number + row}: expected {width} numbers, got "
                    f"{line[:80]!r}."
                ) from None
        else:
            if len(lines) == count:
                return values
            row = len(lines)
        raise ValueError(
            f"{self.path}: line {number + row}: expected {width} values of row {row + 1} of "
            f"{count}; the file is truncated or damaged."
        )

    def columns(self, names: Sequence[str], *, allow: Sequence[float] = ()) -> np.ndarray:
        """Columns [N, len(names)], float32; non-finite values outside `allow` are an error."""
        if self.rows.dtype.names is None:
            places = [self.vertex.names.index(name) for name in names]
            run = slice(places[0], places[-1] + 1) if places else slice(0)
            consecutive = places == list(range(run.start or 0, run.stop))
            chosen = self.rows[:, run] if consecutive else self.rows[:, places]
            with np.errstate(over="ignore"):
                values = chosen.astype(np.float32)
        else:
            values = np.empty((len(self.rows), len(names)), dtype=np.float32)
            with np.errstate(over="ignore"):
                for place, name in enumerate(names):
                    values[:, place] = self.rows[name]
        bad = ~np.isfinite(values)
        if bad.any():
            for value in allow:
                bad &= values != value
            if bad.any():
                row, place = (int(index) for index in np.argwhere(bad)[0])
                self._refuse(row, names[place], float(values[row, place]))
        return values

    def _refuse(self, row: int, name: str, value: float) -> None:
        if self.header.encoding == "ascii":
            skipped = sum(element.count for element in self._elements_before())
            position = f"line {self.header.num_lines + skipped + row + 1}"
        else:
            before = self.vertex.names[: self.vertex.names.index(name)]
            inside = sum(self.row[other].itemsize for other in before)
            position = f"byte {self.offset + row * self.row.itemsize + inside}"
        raise ValueError(
            f"{self.path}: {position}: `{name}` of Gaussian {row} must be a finite float32 number, "
            f"got {value}; remove such rows before loading."
        )
