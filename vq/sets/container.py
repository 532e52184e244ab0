"""The bytes around a coded set: header, sections and checksum.

Numbers called varint hold seven bits per byte, lowest first, the top bit set on all bytes but the
last; "folded" maps 0, -1, 1, -2, ... to 0, 1, 2, 3, ... before. In order:

1. `FSET`; one byte, the version, 3 or, where columns have a coarsening, 4; one byte, the preset
   (an index into `PRESETS`).
2. Positions: one byte, their type (an index into `DTYPES`); the three minima, folded varints; one
   byte, the bits B <= 42 of the largest coordinate above its minimum.
3. varint N, the number of points; varint, the number of columns; per column: varint length of its
   name and the name in UTF-8; one byte, its type; folded varint, its minimum; one byte, the bits
   <= 24 of its largest value above the minimum; varint, how many parents it has; their numbers,
   varints below its own; in version 4 its coarsening: a varint, 0 for none, 1 for that of the
   column before, else 1 + `most`, followed by `constant` and `own` (folded varints), varint, the
   number of terms, and per term: varint, the number of factors; per factor the number of an earlier
   column (varint) and the factor (folded varint); one byte, 1 if the term has a lower bound plus 2
   if it has an upper one; these (folded varints).
4. Blocks of 2^18 points, the last one shorter. Per block, each as varint length and bytes: the
   upper B - L bits of the positions, L = max(0, B - 20); where L > 0, three columns of the lower
   L bits of x, y and z, without parents; each column that has bits.
5. CRC-32 (as in zlib) of everything before, little-endian.

Points are sorted by the Morton code of the upper bits, then by the columns of lower bits, then by
the columns in turn, so that one set has one code.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from ..contract import CodecError
from ..entropy.bits import fold, read_varint, unfold, write_varint
from .coarsening import MAX_BOUND, MAX_COARSENESS, MAX_FACTORS, Coarsening, Term, check
from .columns import MAX_BITS, MAX_PARENTS

MAGIC = b"FSET"
PRESETS = ("fast", "small")
"""Names of the presets, as numbered in the bytes."""
DTYPES = tuple(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"))
"""Types of positions and columns, as numbered in the bytes."""
BLOCK_POINTS = 1 << 18
"""Points that are coded together; blocks are independent."""
UPPER_BITS = 20
"""Bits per axis that are coded as points; what lies below is noise, coded as columns."""
MAX_POSITION_BITS = 42
_VERSION = 3  # and the next where columns have a coarsening
_MAX_COLUMNS, _MAX_NAME = 1 << 12, 1 << 10
_MAX_MINIMUM = 1 << 62


@dataclass(frozen=True)
class ColumnHeader:
    """One column without its values."""

    name: str
    """Unique; empty for the lower bits of positions."""
    dtype: np.dtype
    """An entry of `DTYPES`."""
    minimum: int
    """What the coded values are counted from."""
    bits: int
    """Coded values lie in [0, 2^bits); 0 where all values are alike."""
    parents: tuple[int, ...] = ()
    """Indices of earlier columns that predict this one, the most telling last."""
    coarsening: Coarsening | None = None
    """Which lower bits of the values are zero; None: none. Columns of lower bits have none."""


@dataclass(frozen=True)
class SetHeader:
    """A set without its points."""

    preset: str
    """An entry of `PRESETS`."""
    count: int
    """Number of points."""
    dtype: np.dtype
    """Type of the positions."""
    minima: tuple[int, int, int]
    """What positions are counted from."""
    position_bits: int
    """Bits of the largest coordinate."""
    columns: tuple[ColumnHeader, ...]
    """The caller's columns."""

    @property
    def lower_bits(self) -> int:
        """Bits per axis that are coded as columns."""
        return max(0, self.position_bits - UPPER_BITS)

    @property
    def coded_columns(self) -> tuple[ColumnHeader, ...]:
        """Columns of lower bits, then the caller's; parents as indices into these."""
        if not self.lower_bits:
            return self.columns
        lower = ColumnHeader("", np.dtype("u4"), 0, self.lower_bits)
        moved = (replace(c, parents=tuple(p + 3 for p in c.parents)) for c in self.columns)
        return (lower, lower, lower, *moved)

    @property
    def blocks(self) -> list[slice]:
        """The points of each block."""
        begins = range(0, self.count, BLOCK_POINTS)
        return [slice(begin, min(begin + BLOCK_POINTS, self.count)) for begin in begins]

    def to_bytes(self) -> bytes:
        """Everything before the first block."""
        coarse = any(column.coarsening for column in self.columns)
        version = _VERSION + coarse
        parts = [MAGIC, bytes([version, PRESETS.index(self.preset), DTYPES.index(self.dtype)])]
        parts += [write_varint(fold(minimum)) for minimum in self.minima]
        parts += [bytes([self.position_bits]), write_varint(self.count)]
        parts.append(write_varint(len(self.columns)))
        names = [column.name for column in self.columns]
        before: Coarsening | None = None
        for column in self.columns:
            name = column.name.encode()
            parts += [write_varint(len(name)), name, bytes([DTYPES.index(column.dtype)])]
            parts += [write_varint(fold(column.minimum)), bytes([column.bits])]
            parts += [write_varint(len(column.parents)), *map(write_varint, column.parents)]
            if coarse:
                parts.append(_coarsening_bytes(column.coarsening, before, names))
            before = column.coarsening
        return b"".join(parts)


@dataclass(frozen=True)
class Section:
    """A run of bytes and where it begins."""

    data: bytes
    offset: int


class Reader:
    """Takes checked pieces off the front of a coded set."""

    def __init__(self, data: bytes) -> None:
        if len(data) < len(MAGIC) + 4 or data[: len(MAGIC)] != MAGIC:
            raise CodecError("not a coded set: it must begin with FSET", offset=0)
        self._end = len(data) - 4
        if zlib.crc32(data[: self._end]) != int.from_bytes(data[self._end :], "little"):
            raise CodecError("the checksum does not match the data", offset=self._end)
        self._data, self.offset = data[: self._end], len(MAGIC)

    def header(self, max_items: int) -> SetHeader:
        """The header; refuses more than `max_items` coordinates and values."""
        version = self._byte("version", _VERSION + 1)
        if version < _VERSION:
            raise CodecError(
                f"version {version}, expected {_VERSION} or {_VERSION + 1}", offset=self.offset - 1
            )
        preset = PRESETS[self._byte("preset", len(PRESETS) - 1)]
        dtype = self._dtype()
        minima = (self._minimum(), self._minimum(), self._minimum())
        bits = self._byte("position bits", MAX_POSITION_BITS)
        count = self._varint("points", max_items)
        width = self._varint("columns", _MAX_COLUMNS)
        if count * (3 + width) > max_items:
            raise CodecError(
                f"{count:,} points with {width} columns exceed the limit of {max_items:,} values",
                offset=self.offset,
            )
        columns: list[ColumnHeader] = []
        for index in range(width):
            column = self._column(index)
            if version > _VERSION:
                column = replace(column, coarsening=self._coarsening(columns, column))
            columns.append(column)
        if len({column.name for column in columns}) < width:
            raise CodecError("two columns have the same name", offset=self.offset)
        return SetHeader(preset, count, dtype, minima, bits, tuple(columns))

    def section(self) -> Section:
        """The next section."""
        length = self._varint("section length", len(self._data))
        begin = self.offset
        if length > len(self._data) - begin:
            raise CodecError("the data ends inside a section", offset=begin)
        self.offset += length
        return Section(self._data[begin : self.offset], begin)

    def finish(self) -> None:
        """Nothing may follow."""
        if self.offset != len(self._data):
            raise CodecError("bytes behind the last section", offset=self.offset)

    def _column(self, index: int) -> ColumnHeader:
        length = self._varint("name length", min(_MAX_NAME, len(self._data) - self.offset))
        begin, self.offset = self.offset, self.offset + length
        try:
            name = self._data[begin : self.offset].decode()
        except UnicodeDecodeError as error:
            raise CodecError("a column's name is not UTF-8", offset=begin) from error
        dtype, minimum = self._dtype(), self._minimum()
        bits = self._byte("column bits", MAX_BITS)
        num_parents = self._varint("parents", min(MAX_PARENTS, index))
        parents = tuple(self._varint("parent", index - 1) for _ in range(num_parents))
        return ColumnHeader(name, dtype, minimum, bits, parents)

    def _coarsening(self, earlier: list[ColumnHeader], column: ColumnHeader) -> Coarsening | None:
        begin = self.offset
        form = self._varint("coarsening", 1 + MAX_COARSENESS)
        found = None
        if form == 1:
            found = earlier[-1].coarsening if earlier else None
            if found is None:
                raise CodecError("the column before has no coarsening", offset=begin)
        elif form:
            constant, own = self._folded(), self._folded()
            terms = tuple(self._term(earlier) for _ in range(self._varint("terms", MAX_FACTORS)))
            found = Coarsening(form - 1, constant, own, terms)
        if found is None:
            return None
        counted = [other for other in earlier if other.name in found.parents]
        if any(other.dtype.itemsize > 4 for other in (*counted, column)):
            raise CodecError("a coarsening of columns of more than 32 bits", offset=begin)
        try:
            check(found)
        except ValueError as error:
            raise CodecError(f"coarsening: {error}", offset=begin) from None
        if column.minimum % (1 << found.most):
            raise CodecError("a coarse column's minimum lies between its steps", offset=begin)
        return found

    def _term(self, earlier: list[ColumnHeader]) -> Term:
        factors = []
        for _ in range(self._varint("factors", MAX_FACTORS)):
            index = self._varint("column of a coarsening", max(0, len(earlier) - 1))
            if not earlier:
                raise CodecError("a coarsening of no column", offset=self.offset)
            factors.append((earlier[index].name, self._folded()))
        bounds = self._byte("bounds", 3)
        low = self._folded() if bounds & 1 else -MAX_BOUND
        high = self._folded() if bounds & 2 else MAX_BOUND
        return Term(tuple(factors), low, high)

    def _byte(self, what: str, most: int) -> int:
        if self.offset >= len(self._data):
            raise CodecError(f"the data ends before the {what}", offset=self.offset)
        value = self._data[self.offset]
        if value > most:
            raise CodecError(f"{what} {value}, at most {most} allowed", offset=self.offset)
        self.offset += 1
        return value

    def _varint(self, what: str, most: int) -> int:
        begin = self.offset
        value, self.offset = read_varint(self._data, begin)
        if value > most:
            raise CodecError(f"{what} {value:,}, at most {most:,} allowed", offset=begin)
        return value

    def _dtype(self) -> np.dtype:
        return DTYPES[self._byte("type", len(DTYPES) - 1)]

    def _folded(self) -> int:
        return unfold(self._varint("folded number", 2 * MAX_BOUND))

    def _minimum(self) -> int:
        return unfold(self._varint("folded minimum", 2 * _MAX_MINIMUM))


def _coarsening_bytes(
    coarsening: Coarsening | None, before: Coarsening | None, names: list[str]
) -> bytes:
    if coarsening is None or coarsening == before:
        return write_varint(int(coarsening is not None))
    parts = [write_varint(1 + coarsening.most)]
    parts += [write_varint(fold(number)) for number in (coarsening.constant, coarsening.own)]
    parts.append(write_varint(len(coarsening.terms)))
    for term in coarsening.terms:
        parts.append(write_varint(len(term.factors)))
        for name, factor in term.factors:
            parts += [write_varint(names.index(name)), write_varint(fold(factor))]
        bounds = [number for number in (term.low, term.high) if abs(number) != MAX_BOUND]
        parts.append(bytes([(term.low != -MAX_BOUND) + 2 * (term.high != MAX_BOUND)]))
        parts += [write_varint(fold(number)) for number in bounds]
    return b"".join(parts)


def write_section(data: bytes) -> bytes:
    """A section with its length in front."""
    return write_varint(len(data)) + data


def with_checksum(data: bytes) -> bytes:
    """`data` and its CRC-32."""
    return data + zlib.crc32(data).to_bytes(4, "little")
