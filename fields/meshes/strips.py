"""PLY files that hold triangle strips instead of faces, as Stanford's and Cyberware's scans do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .mesh import Mesh

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_LONGEST_HEADER = 1 << 16


def read_strips(path: Path) -> Mesh | None:
    """The mesh of a binary PLY with an element `tristrips`; None for any other file.

    A strip a b c d ... holds the triangles abc, cbd, cde, ...; -1 ends a strip.

    Raises:
        ValueError: Truncated, or laid out in a way that no known program writes.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    head, end, _ = start.partition(b"end_header\n")
    if not end or b"element tristrips" not in head:
        return None
    lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(lines[1][1])
    vertex_count, fields, counts = _layout(lines, order or "")
    if order is None or fields is None:
        raise ValueError("strips are read from binary PLY files with plain vertex properties")
    data = path.read_bytes()[len(head) + len(end) :]
    size = vertex_count * fields.itemsize
    rows = np.frombuffer(data[:size], fields)
    if len(rows) != vertex_count or not {"x", "y", "z"} <= set(fields.names or ()):
        raise ValueError(f"expected {vertex_count} vertices with x, y and z")
    count_type, index_type, strip_count = counts
    faces, place = [], size
    for _ in range(strip_count):
        length = int(np.frombuffer(data, count_type, 1, place)[0])
        place += count_type.itemsize
        if length < 0 or place + length * index_type.itemsize > len(data):
            raise ValueError(f"byte {place}: the strip of {length} indices is cut off")
        faces.append(strip_faces(np.frombuffer(data, index_type, length, place).astype(np.int64)))
        place += length * index_type.itemsize
    names = fields.names or ()
    colors = None
    if {"red", "green", "blue"} <= set(names):
        colors = np.stack([rows[name] for name in ("red", "green", "blue")], 1) / np.float32(255)
    vertices = np.stack([rows[axis] for axis in "xyz"], 1).astype(np.float64)
    return Mesh(vertices, np.concatenate(faces), colors=colors)


def strip_faces(indices: np.ndarray) -> np.ndarray:
    """Triangles [F, 3] of strips that -1 separates, every second one turned; without area none."""
    triples = np.lib.stride_tricks.sliding_window_view(indices, 3).copy()
    cuts = np.flatnonzero(indices < 0)
    begins = np.concatenate([[0], cuts + 1])
    begin = begins[np.searchsorted(begins, np.arange(len(triples)), "right") - 1]
    odd = (np.arange(len(triples)) - begin) % 2 == 1
    triples[odd] = triples[odd][:, [1, 0, 2]]
    a, b, c = triples.T
    return triples[(triples >= 0).all(1) & (a != b) & (b != c) & (a != c)]


def _layout(
    lines: list[list[str]], order: str
) -> tuple[int, np.dtype | None, tuple[np.dtype, np.dtype, int]]:
    """Vertices and their row type, and the types and number of strips, from the header's words."""
    vertex_count, strip_count, element = 0, 0, ""
    vertex: list[tuple[str, str]] = []
    count_type = index_type = np.dtype("i4")
    for words in lines:
        if words[:1] == ["element"]:
            element = words[1]
            if element == "vertex":
                vertex_count = int(words[2])
            elif element == "tristrips":
                strip_count = int(words[2])
        elif words[:2] == ["property", "list"] and element == "tristrips":
            count_type = np.dtype(order + _TYPES[words[2]])
            index_type = np.dtype(order + _TYPES[words[3]])
        elif words[:1] == ["property"] and element == "vertex":
            if words[1] == "list":
                return vertex_count, None, (count_type, index_type, strip_count)
            vertex.append((words[2], order + _TYPES[words[1]]))
    return vertex_count, np.dtype(vertex), (count_type, index_type, strip_count)
