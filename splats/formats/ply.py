"""The standard 3DGS PLY file.

One row per Gaussian, float32 little-endian: x y z nx ny nz f_dc_* f_rest_* opacity scale_* rot_*,
all before activation (logit opacity, natural log of the standard deviations, quaternion wxyz).
`f_rest_*` is channel-major: first all red coefficients, then green, then blue. Axes are those of
COLMAP, right, down, forward, unless a comment names another vertical axis. Files without `scale_2`
hold 2D Gaussians.

Reference: save_ply and load_ply of graphdeco-inria/gaussian-splatting, scene/gaussian_model.py.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from runs.files import replacing

from ..gaussians import Gaussians
from ..sh import SH_C0, num_sh_bases
from ..training.kernels import native_kernels
from .compressed_ply import CompressedPlyFormat, CompressedPlySource, is_compressed
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
from .ply_header import Element, Header, read_header
from .ply_table import Group, PlyTable
from .points import PointsFormat, is_point_cloud
from .sources import InMemory, collect

FLAT_LOG_SCALE = -20.0
"""Log of the third standard deviation of 2DGS files, which store two: flat at any sane scale."""

_MEANS = ("x", "y", "z")
_NORMALS = ("nx", "ny", "nz")
_SH0 = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALES = ("scale_0", "scale_1", "scale_2")
_QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
_COLORS = ("red", "green", "blue")
_Z_UP = "RFU"  # nerfstudio exports x right, y forward, z up and says `Vertical Axis: z`


@dataclass(frozen=True)
class PlyOptions:
    """What a PLY writer lets one choose."""

    normals: bool = True
    """Write the zeros `nx ny nz` that the Inria code writes and some old readers want."""


class PlySource:
    """The Gaussians of a PLY file as a `Source`; rows are read while they are gone through.

    Properties may come in any order and as any number type, in ASCII or binary of either byte
    order; unknown properties and elements are skipped. `red green blue` stand in for `f_dc_*`.

    Raises:
        FormatError: Empty, truncated or malformed file, missing properties.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = read_header(path)
        self.vertex = vertex_element(path, self.header)
        self.coefficients = count_rest(path, self.vertex)
        _require_properties(path, self.vertex)
        self.table = PlyTable(path, self.header, self.vertex)

    @property
    def num_primitives(self) -> int:
        """Rows of the element `vertex`."""
        return self.vertex.count

    @property
    def sh_degree(self) -> int:
        """From the number of `f_rest_*`."""
        return round((1 + self.coefficients) ** 0.5) - 1

    @property
    def frame(self) -> str:
        """RDF unless a comment tells that z is up."""
        return _Z_UP if "vertical axis: z" in _notes(self.header) else HOUSE_FRAME

    @property
    def antialiased(self) -> bool:
        """Brush writes `SplatRenderMode: mip`, Postshot `antialiased 1`."""
        notes = _notes(self.header)
        return "splatrendermode: mip" in notes or "antialiased 1" in notes

    @property
    def model(self) -> str:
        """ "2dgs" without `scale_2` or with the comment `SplatRenderMode: 2dgs`."""
        flat = "scale_2" not in self.vertex.names
        return "2dgs" if flat or "splatrendermode: 2dgs" in _notes(self.header) else "3dgs"

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """See `Source.chunks`.

        Raises:
            FormatError: A value is not finite (opacities may be, log scales may be -inf).
        """
        names = self.vertex.names
        has_sh0 = set(_SH0) <= set(names)
        rest = self.coefficients
        groups = (
            Group(_MEANS),
            Group(_QUATS),
            Group(tuple(name for name in _SCALES if name in names), (-np.inf,)),
            Group(("opacity",), (-np.inf, np.inf)),
            Group(_SH0 if has_sh0 else _COLORS),
            Group(tuple(f"f_rest_{c * rest + k}" for k in range(rest) for c in range(3))),
        )
        full = 255.0 if dict(self.vertex.properties).get("red", "u1") == "u1" else 1.0
        for means, quats, stored, logits, colors, shN in self.table.blocks(rows, groups):
            sh0, scales = colors, stored
            if not has_sh0:
                sh0 = ((colors / full - 0.5) / SH_C0).astype(np.float32)
            if stored.shape[1] == 2:
                flat = np.full((len(stored), 1), FLAT_LOG_SCALE, np.float32)
                scales = np.concatenate([stored, flat], axis=1)
            yield Gaussians(
                means=torch.from_numpy(means),
                quats=torch.from_numpy(quats),
                log_scales=torch.from_numpy(scales),
                logit_opacities=torch.from_numpy(logits[:, 0]),
                sh0=torch.from_numpy(sh0[:, None]),
                shN=torch.from_numpy(shN.reshape(len(means), rest, 3)),
            )


class PlyFormat:
    """The standard 3DGS PLY as a `Format`."""

    suffixes = (".ply",)
    magic = b"ply"
    Options = PlyOptions

    def open(self, path: Path) -> Source:
        """The Gaussians of a PLY file, which may be a compressed one or a point cloud."""
        header = read_header(path)
        if is_point_cloud(header):
            return PointsFormat().open(path)
        return CompressedPlySource(path) if is_compressed(header) else PlySource(path)

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: PlyOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """Write identical float32 bits; see `Format.write`.

        A PLY file passed on as it was opened is copied byte for byte, with its comments, further
        properties and elements.
        """
        refuse_existing(path, overwrite=overwrite)
        if isinstance(source, PlySource) and options is None:
            with replacing(path) as file, source.path.open("rb") as original:
                shutil.copyfileobj(original, file, 1 << 20)
            return LossReport(path, path.stat().st_size)
        source = in_frame(source)
        layout = _Layout(source, options or PlyOptions())
        with replacing(path) as file, ThreadPoolExecutor(1) as writer:
            # Rows are laid out while those before them are written.
            pending = writer.submit(file.write, layout.header())
            for chunk in source.chunks():
                rows = layout.rows(chunk)
                pending.result()
                pending = writer.submit(file.write, rows.data)
            pending.result()
        return LossReport(path, path.stat().st_size)

    def summarize(self, path: Path) -> FileSummary:
        """Sizes by attribute, from the header alone."""
        header = read_header(path)
        if is_compressed(header):
            return CompressedPlyFormat().summarize(path)
        if is_point_cloud(header):
            return PointsFormat().summarize(path)
        source = PlySource(path)
        vertex = source.vertex
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
            sh_degree=source.sh_degree,
            antialiased=source.antialiased,
            frame=source.frame,
            sections=sections,
            model=source.model,
            details={"encoding": header.encoding, "comments": "; ".join(header.comments)},
        )


class _Layout:
    """Names of the columns that are written, and their rows."""

    def __init__(self, source: Source, options: PlyOptions) -> None:
        self.source = source
        self.count = num_sh_bases(source.sh_degree) - 1
        rest = tuple(f"f_rest_{index}" for index in range(3 * self.count))
        normals = _NORMALS if options.normals else ()
        self.scales = _SCALES[:2] if source.model == "2dgs" else _SCALES
        self.names = (*_MEANS, *normals, *_SH0, *rest, "opacity", *self.scales, *_QUATS)

    def header(self) -> bytes:
        """Everything before the rows."""
        lines = ["ply", "format binary_little_endian 1.0"]
        if self.source.antialiased:
            lines.append("comment SplatRenderMode: mip")
        elif self.source.model == "2dgs":
            lines.append("comment SplatRenderMode: 2dgs")
        lines.append(f"element vertex {self.source.num_primitives}")
        lines += [f"property float {name}" for name in self.names]
        lines.append("end_header")
        return ("\n".join(lines) + "\n").encode("ascii")

    def rows(self, chunk: Gaussians) -> NDArray[np.float32]:
        """File rows [n, columns] of some Gaussians, little-endian float32."""
        rest = [f"f_rest_{c * self.count + k}" for k in range(self.count) for c in range(3)]
        parts = [
            (chunk.means, _MEANS),
            (chunk.sh0, _SH0),
            (chunk.shN, rest),
            (chunk.logit_opacities, ("opacity",)),
            (chunk.log_scales[:, : len(self.scales)], self.scales),
            (chunk.quats, _QUATS),
        ]
        arrays = [
            np.ascontiguousarray(
                values.detach().cpu().float().numpy().reshape(len(chunk), len(names)), "<f4"
            )
            for values, names in parts
        ]
        places = {name: place for place, name in enumerate(self.names)}
        table = np.zeros((len(chunk), len(self.names)), "<f4")
        native = native_kernels()
        if native is None:
            for array, (_, names) in zip(arrays, parts, strict=True):
                table[:, [places[name] for name in names]] = array
            return table
        moves = [
            (
                array.ctypes.data,
                4 * len(names),
                table.ctypes.data,
                4 * len(self.names),
                list(range(0, 4 * len(names), 4)),
                [4 * places[name] for name in names],
            )
            for array, (_, names) in zip(arrays, parts, strict=True)
        ]
        native.move_columns(len(chunk), moves, False)
        return table


def load(path: str | Path) -> Gaussians:
    """The Gaussians of a 3DGS PLY file, on the CPU, in the file's own axes.

    Raises:
        FormatError: See `PlySource`.
    """
    return collect(PlySource(Path(path)))


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
    source = InMemory(gaussians, antialiased=antialiased)
    return PlyFormat().write(source, Path(path), overwrite=overwrite)


def _notes(header: Header) -> list[str]:
    return [" ".join(comment.lower().split()) for comment in header.comments]


def vertex_element(path: Path, header: Header) -> Element:
    """The element that holds the Gaussians.

    Raises:
        FormatError: There is none, or it is no table of numbers.
    """
    element = header.element("vertex")
    if element is None:
        found = ", ".join(item.name for item in header.elements) or "none"
        message = f"expected such an element, got {found}."
        raise FormatError(path, message, field="element vertex", offset=0)
    if element.has_lists:
        message = "it has a list property; this is no splat file."
        raise FormatError(path, message, field="element vertex", offset=0)
    if not element.properties:
        message = "it has no properties; the header is damaged."
        raise FormatError(path, message, field="element vertex", offset=0)
    return element


def count_rest(path: Path, element: Element) -> int:
    """Coefficients per channel above degree 0 among `f_rest_*`: 0, 3, 8, 15 or 24.

    Raises:
        FormatError: Another number of them, or one is missing.
    """
    rest = {name for name in element.names if name.startswith("f_rest_")}
    if len(rest) not in (0, 9, 24, 45, 72):
        message = f"expected 0, 9, 24, 45 or 72 properties (degree 0 to 4), got {len(rest)}."
        raise FormatError(path, message, field="f_rest_*", offset=0)
    missing = {f"f_rest_{index}" for index in range(len(rest))} - rest
    if missing:
        message = f"it is missing among {len(rest)} f_rest_*."
        raise FormatError(path, message, field=min(missing), offset=0)
    return len(rest) // 3


def _require_properties(path: Path, vertex: Element) -> None:
    names = set(vertex.names)
    colors = _SH0 if not set(_COLORS) <= names else ()
    needed = (*_MEANS, *colors, "opacity", *_SCALES[:2], *_QUATS)
    missing = [name for name in needed if name not in names]
    if missing:
        plain = " It looks like a plain point cloud or mesh." if "scale_0" in missing else ""
        message = f"it lacks the properties {', '.join(missing)} of a splat file.{plain}"
        raise FormatError(path, message, field="element vertex", offset=0)
