"""PlayCanvas compressed PLY: 16 bytes per Gaussian, quantized within blocks of 256.

Three PLY elements: `chunk` holds the bounds of every block, `vertex` four packed words per
Gaussian (position 11-10-11 bits, log scale 11-10-11, rotation 2-10-10-10, color and opacity
8-8-8-8), `sh` one byte per coefficient above degree 0, channel-major. Axes as in PLY.

Reference: github.com/playcanvas/splat-transform, src/lib/readers/decompress-ply.ts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt32
from numpy import ndarray

from runs.files import replacing

from ..gaussians import Gaussians
from ..sh import SH_C0, num_sh_bases
from .blocks import all_means, block_order
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
from .quantization import (
    alpha_bytes,
    join_smallest_three,
    logits_of_bytes,
    split_smallest_three,
    unit_quats,
)
from .sources import Reordered, random_access

BLOCK = 256
"""Gaussians that share bounds."""
MAX_LOG_SCALE = 20.0
"""Log scales beyond +- this are set to it, as by the reference."""
MAX_SH = 4.0
"""Coefficients beyond +- this are set to it; the step is 1/32."""

_BOUNDS = tuple(
    f"{end}_{name}"
    for names in (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
    for end in ("min", "max")
    for name in names
)
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_SHIFTS = np.array([21, 11, 0], np.uint32)
_LEVELS = np.array([2047, 1023, 2047])
_MAX_DEGREE = 3
_SH_ENDS = MAX_SH * (1 - 1.5 / 256)  # the middle of 4 and of the value below it, 4 (1 - 3 / 256)


@dataclass(frozen=True)
class CompressedPlyOptions:
    """What a writer of compressed PLY lets one choose."""

    reorder: bool = True
    """Put neighbors into one block, which makes positions several times more exact."""


def is_compressed(header: Header) -> bool:
    """True for the header of a compressed PLY."""
    vertex = header.element("vertex")
    return vertex is not None and "packed_position" in vertex.names


_LARGEST = 1e37
"""Bounds are below this in magnitude, so that nothing computed from them overflows float32."""


class CompressedPlySource:
    """The Gaussians of a compressed PLY file as a `Source`.

    Raises:
        FormatError: The elements are not those of the format, or the file is truncated.
    """

    frame = HOUSE_FRAME
    antialiased = False
    model = "3dgs"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = read_header(path)
        if self.header.encoding == "ascii":
            message = "expected binary data, got ascii."
            raise FormatError(path, message, field="format", offset=0)
        self._offsets = self._locate()
        vertex, chunk = self._element("vertex", _PACKED, "u4"), self._chunk_element()
        self.num_primitives = vertex.count
        if chunk.count * BLOCK < vertex.count:
            message = (
                f"{vertex.count} Gaussians need {-(-vertex.count // BLOCK)} blocks, "
                f"got {chunk.count}."
            )
            raise FormatError(path, message, field="element chunk", offset=0)
        self.sh_degree = self._degree(vertex.count)
        self._chunk, self._vertex, self._sh = chunk, vertex, self.header.element("sh")

    def chunks(self, rows: int = ROWS_PER_CHUNK) -> Iterator[Gaussians]:
        """See `Source.chunks`.

        Raises:
            FormatError: The bounds of a block are not finite.
        """
        for start in range(0, self.num_primitives, rows):
            yield self._decode(start, min(start + rows, self.num_primitives))

    def _decode(self, start: int, stop: int) -> Gaussians:
        rows = self._read(self._vertex, start, stop)
        packed = {name: rows[name].astype(np.uint32) for name in _PACKED}
        first = start // BLOCK
        blocks = self._table(first, -(-stop // BLOCK))
        bounds = np.repeat(blocks, BLOCK, axis=0)[start - first * BLOCK :][: stop - start]
        positions = _unpack_three(packed["packed_position"])
        scales = _unpack_three(packed["packed_scale"])
        shifts = np.array([24, 16, 8, 0], np.uint32)
        rgba = (packed["packed_color"][:, None] >> shifts & np.uint32(255)).astype(np.uint8)
        colors = _lerp(bounds[:, 12:15], bounds[:, 15:18], rgba[:, :3] / np.float32(255))
        return Gaussians(
            means=torch.from_numpy(_lerp(bounds[:, 0:3], bounds[:, 3:6], positions)),
            quats=torch.from_numpy(_unpack_quats(packed["packed_rotation"])),
            log_scales=torch.from_numpy(_lerp(bounds[:, 6:9], bounds[:, 9:12], scales)),
            logit_opacities=torch.from_numpy(logits_of_bytes(rgba[:, 3])),
            sh0=torch.from_numpy(((colors - np.float32(0.5)) / np.float32(SH_C0))[:, None]),
            shN=torch.from_numpy(self._rest(start, stop)),
        )

    def _rest(self, start: int, stop: int) -> Float[ndarray, "n rest 3"]:
        rest = num_sh_bases(self.sh_degree) - 1
        if self._sh is None or rest == 0:
            return np.zeros((stop - start, rest, 3), np.float32)
        stored = self._read(self._sh, start, stop)
        names = [f"f_rest_{index}" for index in range(3 * rest)]
        table = np.stack([stored[name] for name in names], axis=1)
        values = ((np.arange(256) + 0.5) / 256 - 0.5) * 2 * MAX_SH
        values[0], values[255] = -MAX_SH, MAX_SH
        decoded = values.astype(np.float32)[table].reshape(stop - start, 3, rest)
        return np.ascontiguousarray(decoded.transpose(0, 2, 1))

    def _table(self, first: int, last: int) -> Float[ndarray, "blocks 18"]:
        """Bounds of some blocks; colors within [0, 1] for old files, which have none."""
        rows = self._read(self._chunk, first, last)
        table = np.zeros((len(rows), len(_BOUNDS)), np.float32)
        table[:, 15:] = 1
        for place, name in enumerate(_BOUNDS):
            if name in (rows.dtype.names or ()):
                table[:, place] = rows[name]
        bad = ~(np.abs(table) < _LARGEST)  # infinite and NaN, too
        if bad.any():
            row, place = divmod(int(bad.argmax()), table.shape[1])
            before = self._chunk.names[: self._chunk.names.index(_BOUNDS[place])]
            inside = sum(rows.dtype[name].itemsize for name in before)
            offset = self._offsets["chunk"] + (first + row) * rows.itemsize + inside
            message = f"of block {first + row} must be below {_LARGEST:g}, got {table[row, place]}."
            raise FormatError(self.path, message, field=_BOUNDS[place], offset=offset)
        return table

    def _locate(self) -> dict[str, int]:
        """Offset of the first row of every element."""
        offset, size, found = self.header.num_bytes, self.path.stat().st_size, {}
        for element in self.header.elements:
            if element.has_lists:
                raise self._fault(f"element {element.name}", "it has a list property.")
            found[element.name] = offset
            offset += element.count * element.dtype(self.header.encoding).itemsize
            if offset > size:
                message = (
                    f"its {element.count} rows end at byte {offset}; "
                    "the file is truncated or its count is wrong."
                )
                field = f"element {element.name}"
                raise FormatError(self.path, message, field=field, offset=size)
        return found

    def _element(self, name: str, properties: tuple[str, ...], code: str) -> Element:
        element = self.header.element(name)
        if element is None:
            raise self._fault(f"element {name}", "it is missing from this compressed PLY.")
        kinds = dict(element.properties)
        for item in properties:
            if kinds.get(item) != code:
                raise self._fault(
                    item, f"expected a property of type {code}, got {kinds.get(item)}."
                )
        return element

    def _chunk_element(self) -> Element:
        has_colors = (chunk := self.header.element("chunk")) and "min_r" in chunk.names
        return self._element("chunk", _BOUNDS if has_colors else _BOUNDS[:12], "f4")

    def _degree(self, count: int) -> int:
        sh = self.header.element("sh")
        if sh is None or not sh.properties:
            return 0
        degrees = {9: 1, 24: 2, 45: 3}
        if len(sh.names) not in degrees or sh.count != count:
            raise self._fault(
                "element sh",
                f"expected 9, 24 or 45 properties and {count} rows, "
                f"got {len(sh.names)} and {sh.count}.",
            )
        self._element("sh", tuple(f"f_rest_{index}" for index in range(len(sh.names))), "u1")
        return degrees[len(sh.names)]

    def _read(self, element: Element, start: int, stop: int) -> ndarray:
        dtype = element.dtype(self.header.encoding)
        offset = self._offsets[element.name] + start * dtype.itemsize
        return np.fromfile(self.path, dtype, stop - start, offset=offset)

    def _fault(self, field: str, message: str) -> FormatError:
        return FormatError(self.path, message, field=field, offset=0)


class CompressedPlyFormat:
    """PlayCanvas compressed PLY as a `Format`."""

    suffixes = (".compressed.ply",)
    magic = b"ply"
    Options = CompressedPlyOptions

    def open(self, path: Path) -> CompressedPlySource:
        """See `CompressedPlySource`."""
        return CompressedPlySource(path)

    def write(
        self,
        source: Source,
        path: Path,
        *,
        options: CompressedPlyOptions | None = None,
        overwrite: bool = False,
    ) -> LossReport:
        """See `Format.write`; harmonics above degree 3 are left out with a note."""
        refuse_existing(path, overwrite=overwrite)
        options = options or CompressedPlyOptions()
        degree = min(source.sh_degree, _MAX_DEGREE)
        count = source.num_primitives
        with random_access(in_frame(source)) as rows:
            order = None
            if options.reorder:
                order = torch.from_numpy(block_order(all_means(rows), BLOCK))
            ordered = rows if order is None else Reordered(rows, order)
            with replacing(path) as file:
                header = _header(count, degree)
                file.write(header)
                blocks_at = len(header)
                rows_at = blocks_at + 4 * len(_BOUNDS) * -(-count // BLOCK)
                sh_at = rows_at + 16 * count
                for chunk in ordered.chunks(ROWS_PER_CHUNK):
                    blocks, packed, sh = _encode(chunk, num_sh_bases(degree) - 1)
                    for offset, part in ((blocks_at, blocks), (rows_at, packed), (sh_at, sh)):
                        file.seek(offset)
                        file.write(part.tobytes())
                    blocks_at += blocks.nbytes
                    rows_at += packed.nbytes
                    sh_at += sh.nbytes
        notes = _notes(source, degree)
        return LossReport(path, path.stat().st_size, None, order=order, notes=notes)

    def summarize(self, path: Path) -> FileSummary:
        """Sizes of the three elements, from the header alone."""
        source = CompressedPlySource(path)
        sections = {"header": source.header.num_bytes}
        for element in source.header.elements:
            size = element.count * element.dtype(source.header.encoding).itemsize
            sections[element.name] = size
        rest = path.stat().st_size - sum(sections.values())
        return FileSummary(
            num_primitives=source.num_primitives,
            sh_degree=source.sh_degree,
            antialiased=False,
            frame=HOUSE_FRAME,
            sections=sections | ({"trailing": rest} if rest else {}),
            details={"layout": "PlayCanvas compressed PLY"},
        )


def _notes(source: Source, degree: int) -> tuple[str, ...]:
    notes = []
    if source.sh_degree > degree:
        notes.append(f"Harmonics above degree {degree} were left out.")
    if source.antialiased:
        notes.append("The format cannot tell that the scene was trained antialiased.")
    return tuple(notes)


def _header(count: int, degree: int) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {-(-count // BLOCK)}"]
    lines += [f"property float {name}" for name in _BOUNDS]
    lines.append(f"element vertex {count}")
    lines += [f"property uint {name}" for name in _PACKED]
    if degree:
        lines.append(f"element sh {count}")
        lines += [f"property uchar f_rest_{i}" for i in range(3 * num_sh_bases(degree) - 3)]
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")


def _encode(
    chunk: Gaussians, rest: int
) -> tuple[Float[ndarray, "blocks 18"], UInt32[ndarray, "n 4"], UInt8[ndarray, "n coefficients"]]:
    """Bounds, packed words and harmonics of Gaussians that start at a block's start."""
    log_scales = chunk.log_scales.numpy().clip(-MAX_LOG_SCALE, MAX_LOG_SCALE)
    colors = (chunk.sh0[:, 0].double() * SH_C0 + 0.5).numpy()
    bounds, parts = [], []
    for values in (chunk.means.numpy(), log_scales, colors.astype(np.float32)):
        low, high, fractions = _within_blocks(values)
        bounds += [low, high]
        parts.append(fractions)
    positions, scales, rgb = parts
    packed = np.empty((len(chunk), 4), "<u4")
    packed[:, 0] = _pack_three(positions)
    packed[:, 1] = _pack_quats(unit_quats(chunk.quats))
    packed[:, 2] = _pack_three(scales)
    words = np.rint(rgb * 255).astype(np.uint32)
    alphas = alpha_bytes(chunk.logit_opacities).astype(np.uint32)
    packed[:, 3] = words[:, 0] << 24 | words[:, 1] << 16 | words[:, 2] << 8 | alphas
    values = chunk.shN[:, :rest].transpose(1, 2).reshape(len(chunk), 3 * rest).numpy()
    sh = np.floor((values / (2 * MAX_SH) + 0.5) * 256).clip(1, 254)
    sh[values > _SH_ENDS] = 255
    sh[values < -_SH_ENDS] = 0
    return np.concatenate(bounds, axis=1).astype("<f4"), packed, sh.astype(np.uint8)


def _within_blocks(
    values: Float[ndarray, "n 3"],
) -> tuple[Float[ndarray, "blocks 3"], Float[ndarray, "blocks 3"], Float[ndarray, "n 3"]]:
    """Bounds of every block, and where each value lies between them, 0 to 1."""
    starts = np.arange(0, len(values), BLOCK)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    block = np.arange(len(values)) // BLOCK
    span = (high.astype(np.float64) - low)[block]
    return low, high, (values - low.astype(np.float64)[block]) / np.where(span > 0, span, 1)


def _pack_three(fractions: Float[ndarray, "n 3"]) -> UInt32[ndarray, "n"]:
    levels = np.rint(fractions * _LEVELS).astype(np.uint32)
    return np.bitwise_or.reduce(levels << _SHIFTS, axis=1)


def _unpack_three(words: UInt32[ndarray, "n"]) -> Float[ndarray, "n 3"]:
    levels = words[:, None] >> _SHIFTS & _LEVELS.astype(np.uint32)
    return levels.astype(np.float32) / _LEVELS.astype(np.float32)


def _lerp(
    low: Float[ndarray, "n 3"], high: Float[ndarray, "n 3"], t: Float[ndarray, "n 3"]
) -> Float[ndarray, "n 3"]:
    return low * (1 - t) + high * t


def _pack_quats(quats: Float[ndarray, "n 4"]) -> UInt32[ndarray, "n"]:
    small, largest = split_smallest_three(quats)
    levels = np.rint((small / np.sqrt(2) + 0.5) * 1023).clip(0, 1023).astype(np.uint32)
    shifts = np.array([20, 10, 0], np.uint32)
    return np.bitwise_or.reduce(levels << shifts, axis=1) | largest.astype(np.uint32) << 30


def _unpack_quats(words: UInt32[ndarray, "n"]) -> Float[ndarray, "n 4"]:
    shifts = np.array([20, 10, 0], np.uint32)
    levels = (words[:, None] >> shifts & np.uint32(1023)).astype(np.float32)
    small = (levels / np.float32(1023) - np.float32(0.5)) * np.float32(np.sqrt(2))
    return join_smallest_three(small, (words >> 30).astype(np.int64))
