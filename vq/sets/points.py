"""Lattice points as bytes, without their order: an octree whose cells know their surroundings.

The number N of points and the bits B per axis are known. Level by level, every occupied cell, in
Morton order, is halved along z, each half along y, each quarter along x; every halving of n points
codes how many lie in the upper half. For n = 1 that is one decision; otherwise: whether all lie in
one half, and if so in which, else the number by halving [1, n - 1]. Points that coincide
at the last level need nothing more. The contexts of the decisions (`_contexts`) come from the
26 neighboring cells of the same level and, for a point that has none, from the last ones it had
further up and the way it went since; after two levels without any, its bits are taken as even.
Decisions and bytes are those of `mixing`; this module is the twin of the kernel in csrc/octree.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt32

from .mixing import BinaryDecoder, BinaryEncoder, BitCoder, ContextModel

try:
    from vq import _native
except ImportError:
    _native = None

MAX_BITS = 21
"""Bits per axis."""
_LOST = 2  # levels without neighbors after which a lone point is unpredictable
_WORD = 0xFFFFFFFF
_Upper = Callable[[int, int, int], int]


def encode_points(points: UInt32[np.ndarray, "n 3"], bits: int) -> bytes:
    """Points as bytes.

    Args:
        points: At least one, sorted by Morton code, coordinates below 2^bits.
        bits: At most 21.
    """
    if _native is not None:
        return _native.encode_points(np.ascontiguousarray(points), bits)
    coder = BinaryEncoder()
    octree = _Octree(coder, len(points))
    for level in range(bits):
        shift = bits - 1 - level

        def upper(first: int, n: int, axis: int, shift: int = shift) -> int:
            return int((points[first : first + n, axis] >> shift & 1).sum())

        octree.split(level, upper)
    return coder.finish()


def decode_points(data: bytes, count: int, bits: int) -> UInt32[np.ndarray, "n 3"] | None:
    """The points in Morton order; None if no encoder wrote `data`.

    The caller has checked that `count` >= 1 is acceptable.
    """
    if _native is not None:
        points = np.empty((count, 3), dtype=np.uint32)
        return points if _native.decode_points(data, bits, points) else None
    coder = BinaryDecoder(data)
    octree = _Octree(coder, count)
    for level in range(bits):
        if not coder.truncated:
            octree.split(level, lambda first, n, axis: 0)
    if not coder.finished:
        return None
    corners = np.array([cell.corner for cell in octree.cells], dtype=np.uint32)
    return np.repeat(corners, [cell.count for cell in octree.cells], axis=0)


@dataclass(frozen=True)
class _Cell:
    """A cube that holds points; its corner in units of its side."""

    corner: tuple[int, int, int]
    count: int
    lean: tuple[int, int, int] = (0, 0, 0)
    age: int = 0
    path: tuple[int, int, int] = (1, 1, 1)


class _Octree:
    """The occupied cells of one level, and what splits them."""

    def __init__(self, coder: BitCoder, count: int) -> None:
        self.cells = [_Cell((0, 0, 0), count)]
        self._model = ContextModel(coder, 5, 0, 96, count)
        self._around: dict[tuple[int, int, int], int] = {}
        self._level = 0

    def split(self, level: int, upper: _Upper) -> None:
        """Replace the cells by those of the next level.

        Args:
            level: 0 for the root.
            upper: Of (first, n, axis): how many of the n points from `first` on, sorted, lie in the
                upper half; not used by a decoder.
        """
        counts = {cell.corner: cell.count for cell in self.cells}
        cells, self.cells, self._level = self.cells, [], level
        first = 0
        for cell in cells:
            self._split_axis(self._look_around(cell, counts), 2, first, upper)
            first += cell.count

    def _look_around(self, cell: _Cell, counts: dict[tuple[int, int, int], int]) -> _Cell:
        self._around = {}
        if cell.age == 0:
            x, y, z = cell.corner
            steps = (-1, 0, 1)
            for dx, dy, dz in ((a, b, c) for a in steps for b in steps for c in steps):
                count = counts.get((x + dx, y + dy, z + dz), 0)
                if count and (dx, dy, dz) != (0, 0, 0):
                    self._around[dx, dy, dz] = 1 + 3 * min(6, count.bit_length())
        if not self._around:
            return replace(cell, age=min(cell.age + 1, _LOST))
        lean = (self._lean(0, 0, 0), self._lean(1, 0, 0), self._lean(2, 0, 0))
        return replace(cell, lean=lean, path=(1, 1, 1))

    def _lean(self, axis: int, side_z: int, side_y: int) -> int:
        """Neighbors above minus below along `axis`, beside the part on the given sides."""
        total = 0
        for (x, y, z), presence in self._around.items():
            weight = (x, y, z)[axis] * (8 >> abs(x) + abs(y) + abs(z))
            for side, step in ((side_z, z), (side_y, y)):
                if side:
                    weight *= 1 + side * step
            total += weight * presence
        return total >> 2

    def _split_axis(self, cell: _Cell, axis: int, first: int, upper: _Upper) -> None:
        high = self._code_count(cell, axis, upper(first, cell.count, axis))
        for side, count in ((0, cell.count - high), (1, high)):
            if count == 0:
                continue
            part = replace(
                cell,
                corner=_with(cell.corner, axis, cell.corner[axis] << 1 | side),
                path=_with(cell.path, axis, min(15, cell.path[axis] << 1 | side)),
                count=count,
                age=0 if count < cell.count else cell.age,
            )
            if axis == 0:
                self.cells.append(part)
            else:
                self._split_axis(part, axis - 1, first + (cell.count - high) * side, upper)

    def _code_count(self, cell: _Cell, axis: int, k: int) -> int:
        """How many of the cell's points lie in the upper half."""
        n = cell.count
        if n == 1 and cell.age == _LOST:
            return self._model.decide_evenly(k)
        width = n.bit_length()
        self._model.set_contexts(self._contexts(cell, axis))
        crowd = cell.age if n == 1 else min(15, 6 + width // 2)
        chosen = axis * 32 + (16 if self._around else 0) + crowd
        if n == 1:
            return self._model.decide(k, chosen)
        if self._model.decide(int(k in (0, n)), chosen):
            return n * self._model.decide(int(k == n), chosen)
        low, high = 1, n - 1
        while low < high:
            middle = (low + high + 1) // 2
            bit = self._model.decide(int(k >= middle), chosen)
            low, high = (middle, high) if bit else (low, middle - 1)
        return low

    def _contexts(self, cell: _Cell, axis: int) -> list[int]:
        n = cell.count
        size = (n if n < 8 else 8 + n.bit_length()) << 2 | axis
        size = size * 0x7FEB352D & _WORD
        side_z = 2 * (cell.corner[2] & 1) - 1 if axis < 2 else 0
        side_y = 2 * (cell.corner[1] & 1) - 1 if axis < 1 else 0
        sides = 3 * side_z + side_y + 4
        now = _quantized(self._lean(axis, side_z, side_y)) if self._around else 0
        faces = 0
        for a in range(3):
            below, above = self._face(a, -1), self._face(a, 1)
            faces = faces << 2 | 2 * (below > 0) | (above > 0)
        contexts = (
            self._level,
            now << 5 | len(self._around),
            now << 10 | faces << 4 | sides,
            _quantized(cell.lean[axis]) << 8 | cell.path[axis] << 4 | cell.age,
            self._face(axis, 1) << 8 | self._face(axis, -1),
        )
        return [size + context for context in contexts]

    def _face(self, axis: int, step: int) -> int:
        return self._around.get(_with((0, 0, 0), axis, step), 0)


def _with(point: tuple[int, int, int], axis: int, value: int) -> tuple[int, int, int]:
    x, y, z = (value if a == axis else point[a] for a in range(3))
    return x, y, z


def _quantized(lean: int) -> int:
    """A lean in 1 to 15, finer near 0."""
    size = abs(lean)
    step = size if size < 4 else 4 if size < 6 else 5 if size < 9 else 6 if size < 14 else 7
    return 8 + step if lean >= 0 else 8 - step
