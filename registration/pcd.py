"""Point clouds in PCD files, version 0.7: ascii, binary and binary_compressed.

Reference: Point Cloud Library, "The PCD (Point Cloud Data) file format"; compressed data is one
LZF block (Marc Lehmann's liblzf) of the fields stored one after another.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .clouds import Cloud, unit_colors

_MAX_HEADER_BYTES = 1 << 16
_KINDS = {"F": "f", "I": "i", "U": "u"}


@dataclass(frozen=True)
class _Header:
    fields: list[tuple[str, str, int]]
    """(name, NumPy type, count) of each field."""
    count: int
    """Number of points."""
    encoding: str
    """ascii, binary or binary_compressed."""
    size: int
    """Offset of the first byte of data."""


def read_pcd(path: Path) -> Cloud:
    """The points of a PCD file with `rgb` or `rgba` as colors; NaN rows are kept.

    Raises:
        ValueError: A malformed header or less data than it announces, with the byte offset.
    """
    data = path.read_bytes()
    header = _parse(path, data)
    columns = _columns(path, data, header)
    missing = {"x", "y", "z"} - set(columns)
    if missing:
        raise ValueError(f"{path}: fields {sorted(missing)} are missing; expected x, y and z.")
    points = np.stack([columns[axis].reshape(header.count) for axis in "xyz"], axis=1)
    packed = columns.get("rgb", columns.get("rgba"))
    colors = None
    if packed is not None and packed.itemsize == 4 and header.encoding != "ascii":
        bits = np.ascontiguousarray(packed.reshape(-1)).view(np.uint32)
        shades = np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1)
        colors = unit_colors(shades.astype(np.uint8))
    return Cloud(points.astype(np.float64), colors)


def _parse(path: Path, data: bytes) -> _Header:
    values: dict[str, list[str]] = {}
    offset = 0
    while "DATA" not in values:
        end = data.find(b"\n", offset, _MAX_HEADER_BYTES)
        if end < 0:
            raise ValueError(f"{path}, byte {offset}: the PCD header has no DATA line.")
        words = data[offset:end].decode("ascii", errors="replace").split()
        offset = end + 1
        if words and not words[0].startswith("#"):
            values[words[0]] = words[1:]
    try:
        names, kinds = values["FIELDS"], values["TYPE"]
        sizes = [int(word) for word in values["SIZE"]]
        counts = [int(word) for word in values.get("COUNT", ["1"] * len(names))]
        number = int((values.get("POINTS") or values["WIDTH"])[0])
        types = [f"<{_KINDS[kind]}{size}" for kind, size in zip(kinds, sizes, strict=True)]
        fields = list(zip(names, types, counts, strict=True))
        np.dtype([(f"f{i}", kind, (count,)) for i, (_, kind, count) in enumerate(fields)])
        encoding = values["DATA"][0]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ValueError(f"{path}: the PCD header is malformed ({error}).") from None
    if number < 0 or encoding not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"{path}: expected DATA ascii, binary or binary_compressed.")
    return _Header(fields, number, encoding, offset)


def _columns(path: Path, data: bytes, header: _Header) -> dict[str, NDArray]:
    if header.encoding == "ascii":
        return _ascii_columns(path, data, header)
    row = np.dtype([(f"f{i}", kind, (n,)) for i, (_, kind, n) in enumerate(header.fields)])
    body = data[header.size :]
    if header.encoding == "binary":
        if len(body) < header.count * row.itemsize:
            raise ValueError(
                f"{path}, byte {header.size}: {header.count} points of {row.itemsize} bytes "
                f"announced, but only {len(body)} bytes follow; the file is truncated."
            )
        table = np.frombuffer(body, row, header.count)
        return {name: table[f"f{i}"] for i, (name, _, _) in enumerate(header.fields)}
    if len(body) < 8:
        raise ValueError(f"{path}, byte {header.size}: the file is truncated.")
    packed, full = struct.unpack("<II", body[:8])
    if full != header.count * row.itemsize or packed > len(body) - 8:
        raise ValueError(f"{path}, byte {header.size}: the sizes of the compressed data are wrong.")
    raw = _decompress(path, body[8 : 8 + packed], full)
    columns, offset = {}, 0
    for name, kind, count in header.fields:
        columns[name] = np.frombuffer(raw, kind, header.count * count, offset)
        offset += columns[name].nbytes
    return columns


def _ascii_columns(path: Path, data: bytes, header: _Header) -> dict[str, NDArray]:
    width = sum(count for _, _, count in header.fields)
    try:
        words = data[header.size :].split()[: header.count * width]
        table = np.array(words, np.float64).reshape(header.count, width)
    except ValueError as error:
        raise ValueError(f"{path}, byte {header.size}: {error}.") from None
    columns, offset = {}, 0
    for name, _, count in header.fields:
        columns[name] = table[:, offset : offset + count]
        offset += count
    return columns


def _decompress(path: Path, data: bytes, size: int) -> bytes:
    """LZF: a control byte below 32 copies that many + 1 literals; others refer back."""
    out = bytearray()
    position = 0
    try:
        while position < len(data):
            control = data[position]
            position += 1
            if control < 32:
                out += data[position : position + control + 1]
                position += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += data[position]
                position += 1
            start = len(out) - ((control & 31) << 8) - data[position] - 1
            position += 1
            length += 2
            if start < 0 or len(out) + length > size:
                raise IndexError
            for _ in range(0, length, len(out) - start):
                piece = out[start : start + min(length, len(out) - start)]
                out += piece
                start += len(piece)
                length -= len(piece)
                if length == 0:
                    break
    except IndexError:
        raise ValueError(f"{path}: the compressed data is damaged near byte {position}.") from None
    if len(out) != size:
        raise ValueError(f"{path}: the data unpacks to {len(out)} bytes, expected {size}.")
    return bytes(out)
