"""Coloured points from PLY files: only the vertices' positions and colors are read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from .capture import SparsePoints

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_MAX_HEADER_BYTES = 1 << 16
_GRAY = 0.5  # for points without color


def read_point_ply(path: Path) -> SparsePoints:
    """The vertices of an ascii or binary PLY file in the file's own frame.

    `red`, `green` and `blue` of an integer type are divided by its largest value; without them the
    points are gray. Points that are not finite are left out.

    Raises:
        ValueError: No PLY, no first element `vertex` with x, y, z, or fewer bytes than announced.
    """
    with path.open("rb") as file:
        header = file.read(_MAX_HEADER_BYTES)
    end = header.find(b"end_header")
    if not header.startswith(b"ply") or end < 0:
        raise ValueError(f"{path} is no PLY file: it does not begin with a PLY header.")
    start = header.find(b"\n", end) + 1
    encoding, count, layout = _parse_header(path, header[:end].decode("ascii", errors="replace"))
    vertices = (
        _read_ascii(path, start, count, layout)
        if encoding == "ascii"
        else _read_binary(path, start, count, layout)
    )
    names = layout.names or ()
    positions = np.stack([vertices[axis] for axis in "xyz"], axis=-1).astype(np.float32)
    colors = np.full_like(positions, _GRAY)
    if {"red", "green", "blue"} <= set(names):
        largest = np.iinfo(layout["red"]).max if layout["red"].kind in "iu" else 1.0
        channels = [vertices[name] for name in ("red", "green", "blue")]
        colors = np.stack(channels, axis=-1).astype(np.float32) / np.float32(largest)
    finite = np.isfinite(positions).all(axis=1)
    return SparsePoints(torch.from_numpy(positions[finite]), torch.from_numpy(colors[finite]))


def _parse_header(path: Path, header: str) -> tuple[str, int, np.dtype]:
    """(encoding, number of vertices, layout of one vertex)."""
    encoding, count, element = "", -1, ""
    properties: list[tuple[str, str]] = []
    for words in (line.split() for line in header.splitlines()[1:]):
        match words:
            case ["format", str(name), _] if name in _BYTE_ORDERS:
                encoding = name
            case ["element", str(name), str(number)]:
                if not element and (name != "vertex" or not number.isdecimal()):
                    raise ValueError(f"{path}: the first element must be `vertex`, got {words}.")
                element, count = name, count if element else int(number)
            case ["property", str(kind), str(name)] if element == "vertex" and kind in _TYPES:
                properties.append((name, _BYTE_ORDERS.get(encoding, "=") + _TYPES[kind]))
            case ["property", *_] if element == "vertex":
                raise ValueError(f"{path}: unsupported vertex property {' '.join(words)!r}.")
    names = [name for name, _ in properties]
    if not encoding or not {"x", "y", "z"} <= set(names) or len(set(names)) != len(names):
        raise ValueError(f"{path}: the header must give a format and vertices with x, y, z.")
    return encoding, count, np.dtype(properties)


def _read_binary(path: Path, start: int, count: int, layout: np.dtype) -> np.ndarray:
    available = os.path.getsize(path) - start
    if count * layout.itemsize > available:
        raise ValueError(
            f"{path}, byte {start}: {count} vertices of {layout.itemsize} bytes announced, "
            f"but only {available} bytes follow; the file is truncated."
        )
    return np.fromfile(path, dtype=layout, count=count, offset=start)


def _read_ascii(path: Path, start: int, count: int, layout: np.dtype) -> np.ndarray:
    with path.open("rb") as file:
        file.seek(start)
        lines = file.read().splitlines()
    if count > len(lines):
        raise ValueError(f"{path}: {count} vertices announced, only {len(lines)} lines follow.")
    vertices = np.empty(count, dtype=layout)
    for index, line in enumerate(lines[:count]):
        try:
            vertices[index] = tuple(float(word) for word in line.split())
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{path}: vertex {index} is malformed: {line[:80]!r}.") from error
    return vertices
