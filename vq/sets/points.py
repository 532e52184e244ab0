"""Lattice points as bytes, without their order: an octree whose cells know their surroundings.

The number N of points and the bits B per axis are known. Level by level, every occupied cell, in
Morton order, is halved along z, each half along y, each quarter along x; every halving of n points
codes how many lie in the upper half. For n = 1 that is one decision; otherwise: whether all lie in
one half, and if so in which, else the number by halving [1, n - 1]. Points that coincide
at the last level need nothing more. What is expected comes from the 26 neighboring cells of the
same level: as contexts (`_contexts`) and, for n = 1, as a logit by their density (`_Density`). A
point whose cell has no neighbors is unpredictable: its bits are taken as even from there on.
Decisions and bytes are those of `mixing`; this module is the twin of the kernel in csrc/octree.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt32

from .mixing import BinaryDecoder, BinaryEncoder, BitCoder, ContextModel, tables

try:
    from vq import _native
except ImportError:
    _native = None

MAX_BITS = 21
"""Bits per axis."""
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
    alone: bool = False
    """Without neighbors, and so without any further down."""


class _Density:
    """How crowded places are, by the points nearby.

    Cells and their eight parts add the bit lengths of their counts, times 2^24 // (4 + d)^2, d the
    square of the distance between centers in quarters of a cell's side. Parts of a cell are known
    once it is split; before, all is at its center and d is larger by 2.
    """

    def __init__(self) -> None:
        self._sources: list[tuple[int, int, int, int, int]] = []

    def add_cell(self, step: tuple[int, int, int], width: int) -> None:
        """A cell so many sides from the one at hand, not split yet."""
        x, y, z = step
        self._sources.append((4 * x + 2, 4 * y + 2, 4 * z + 2, 2, width))

    def add_parts(self, step: tuple[int, int, int], widths: Sequence[int]) -> None:
        """One that is, with the bit lengths of the counts of its parts."""
        for part, width in enumerate(widths):
            if width:
                x, y, z = (4 * step[a] + 1 + 2 * (part >> a & 1) for a in range(3))
                self._sources.append((x, y, z, 0, width))

    def share(self, low: Sequence[int], high: Sequence[int]) -> int:
        """How much of the density at two places is at the second, in 1/4096."""
        sums = [1 << 16, 1 << 16]
        for x, y, z, blur, width in self._sources:
            for half, (a, b, c) in enumerate((low, high)):
                d = (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 + blur
                sums[half] += width * ((1 << 24) // (4 + d) ** 2)
        return 4096 * sums[1] // sum(sums)


class _Octree:
    """The occupied cells of one level, and what splits them."""

    def __init__(self, coder: BitCoder, count: int) -> None:
        self.cells = [_Cell((0, 0, 0), count)]
        self._model = ContextModel(coder, 5, 1, 96, count)
        self._density = _Density()
        self._parts: dict[tuple[int, int, int], list[int]] = {}
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
        cells, self.cells, self._level, self._parts = self.cells, [], level, {}
        first = 0
        for cell in cells:
            before = len(self.cells)
            self._split_axis(self._look_around(cell, counts), 2, first, upper)
            widths = [0] * 8
            for part in self.cells[before:]:
                x, y, z = part.corner
                widths[x & 1 | (y & 1) << 1 | (z & 1) << 2] = part.count.bit_length()
            self._parts[cell.corner] = widths
            first += cell.count

    def _look_around(self, cell: _Cell, counts: dict[tuple[int, int, int], int]) -> _Cell:
        self._around, self._density = {}, _Density()
        if cell.alone:
            return cell
        x, y, z = cell.corner
        steps = (-1, 0, 1)
        for dx, dy, dz in ((a, b, c) for a in steps for b in steps for c in steps):
            corner, step = (x + dx, y + dy, z + dz), (dx, dy, dz)
            if step == (0, 0, 0) or corner not in counts:
                continue
            width = counts[corner].bit_length()
            self._around[step] = 1 + 3 * min(6, width)
            if corner in self._parts:
                self._density.add_parts(step, self._parts[corner])
            else:
                self._density.add_cell(step, width)
        return replace(cell, alone=not self._around)

    def _split_axis(self, cell: _Cell, axis: int, first: int, upper: _Upper) -> None:
        high = self._code_count(cell, axis, upper(first, cell.count, axis))
        for side, count in ((0, cell.count - high), (1, high)):
            if count == 0:
                continue
            corner = _with(cell.corner, axis, cell.corner[axis] << 1 | side)
            # Where both halves have points, they are neighbors.
            part = _Cell(corner, count, cell.alone and count == cell.count)
            if axis == 0:
                self.cells.append(part)
            else:
                self._split_axis(part, axis - 1, first + (cell.count - high) * side, upper)

    def _code_count(self, cell: _Cell, axis: int, k: int) -> int:
        """How many of the cell's points lie in the upper half."""
        n = cell.count
        if n == 1 and cell.alone:
            return self._model.decide_evenly(k)
        share = self._share_above(cell, axis) if self._around else 2048
        self._model.set_contexts(self._contexts(n, axis, share >> 7))
        chosen = axis * 32 + (16 if self._around else 0) + n.bit_length() // 2
        given = (tables().logit[share] if n == 1 and self._around else 0,)
        if n == 1:
            return self._model.decide(k, chosen, given)
        if self._model.decide(int(k in (0, n)), chosen, given):
            return n * self._model.decide(int(k == n), chosen, given)
        low, high = 1, n - 1
        while low < high:
            middle = (low + high + 1) // 2
            bit = self._model.decide(int(k >= middle), chosen, given)
            low, high = (middle, high) if bit else (low, middle - 1)
        return low

    def _share_above(self, cell: _Cell, axis: int) -> int:
        """How much of the density lies in the upper half along `axis`, in 1/4096."""
        # The halves along the axes above are known.
        known = [1 + 2 * (cell.corner[a] & 1) if a > axis else 2 for a in range(3)]
        low, high = list(known), list(known)
        low[axis], high[axis] = 1, 3
        return self._density.share(low, high)

    def _contexts(self, n: int, axis: int, share: int) -> list[int]:
        size = (n if n < 8 else 8 + n.bit_length()) << 2 | axis
        size = size * 0x7FEB352D & _WORD
        lean = sum(
            step[axis] * (8 >> sum(map(abs, step))) * presence
            for step, presence in self._around.items()
        )
        contexts = (
            self._level,
            share,
            share << 5 | len(self._around),
            _quantized(lean >> 2),
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
