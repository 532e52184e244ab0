"""Static rANS: integer arrays of any shape at their order-0 entropy, decoded many at a time.

Bytes, in this order (numbers little-endian; codes and bit order as in `bits`):

1. One byte: the version, 1; plus 128 if the columns of a 2-D array have tables of their own.
2. One byte: the type, an index into `DTYPES`.
3. The number of dimensions (one byte, at most 8) and each dimension as `varint`.
4. Nothing more for an array without items. Otherwise the tables, as one run of bits padded to a
   byte: per column (once without columns) its alphabet (`tokens`): `low` minus the previous
   column's, folded golomb(4); `size` golomb(4); `below` and `above` golomb(0). Then, unless the
   alphabet has one token, its frequency table (`tables`).
5. Where a column has more than one token: per block (`lanes.layout` of all such columns' items)
   the number of words as `varint`, then the blocks, each its states as uint32 and its words as
   uint16 (`lanes`). Columns with one token take no part.
6. The raw bits of all tokens that stand for classes, column by column and item by item, lowest
   bit first, padded with zeros to a byte. Nothing may follow.

An array with columns is coded column by column; one without in the order of its items, last
dimension fastest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..contract import MAX_ITEMS, CodecError
from . import lanes
from .bits import BitReader, BitWriter, fold, read_varint, unfold, write_varint
from .tables import FrequencyTable, fit
from .tokens import (
    FEW_TOKENS,
    MAX_CLASSES,
    MAX_MAGNITUDE,
    Alphabet,
    alphabet_of,
    far_values,
    max_direct,
    outside_tokens,
    pack_raw,
    to_tokens,
    unpack_raw,
)

VERSION = 1
"""Version of the bytes."""
COLUMNS = 128
"""Flag of arrays whose columns have tables of their own."""
CLASS_PRICE = 1.001
"""Classes have to save this much to be used, as they take another pass over the tokens."""
HISTOGRAM = 1 << 22
"""Spread of values up to which they are counted directly instead of sorted."""
DTYPES = tuple(np.dtype(name) for name in ("bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"))
"""Types of arrays, as numbered in the file."""
MAX_DIMS = 8
"""Most dimensions of an array."""
MAX_COLUMNS = 1 << 12
"""Most columns with tables of their own."""


def encode(symbols: NDArray[Any], *, columns: bool = False) -> bytes:
    """An integer array as bytes, shape and type included.

    Args:
        symbols: Any integer type or bool, any shape of up to 8 dimensions, values within 2^60.
        columns: Give each column of an `[n, d]` array a frequency table of its own.

    Raises:
        ValueError: `symbols` has another type, too many dimensions, or values out of range.

    Codes sorted by how often they are used make the cheapest tables.
    """
    symbols = np.asarray(symbols)
    dtype = symbols.dtype.newbyteorder("=")
    if dtype not in DTYPES:
        raise ValueError(f"`symbols` must be integers or bool, got {symbols.dtype}.")
    if symbols.ndim > MAX_DIMS:
        raise ValueError(f"`symbols` must have at most {MAX_DIMS} dimensions, got {symbols.ndim}.")
    if columns and (symbols.ndim != 2 or symbols.shape[1] > MAX_COLUMNS):
        raise ValueError(
            f"`symbols` must be [n, d <= {MAX_COLUMNS}] to have columns, got {symbols.shape}."
        )
    header = bytes([VERSION | COLUMNS * columns, DTYPES.index(dtype), symbols.ndim])
    header += b"".join(write_varint(length) for length in symbols.shape)
    if symbols.size == 0:
        return header
    if int(symbols.max()) > MAX_MAGNITUDE or int(symbols.min()) < -MAX_MAGNITUDE:
        raise ValueError(f"`symbols` must lie within 2^60, got {symbols.min()} to {symbols.max()}.")
    rows = symbols.T if columns else symbols.reshape(1, -1)
    return header + _encode_columns(rows)


@dataclass(frozen=True)
class ColumnModel:
    """How the items of one column are coded."""

    alphabet: Alphabet
    """Values to tokens."""
    counts: NDArray[np.int64]
    """How often each token occurs."""
    table: FrequencyTable | None
    """Frequencies of the tokens; None where there is one token."""

    @staticmethod
    def of(values: NDArray[np.int64]) -> ColumnModel:
        """The model that codes these values best."""
        alphabet, counts = choose_alphabet(values)
        return ColumnModel(alphabet, counts, fit(counts)[0] if len(counts) > 1 else None)


def write_models(models: list[ColumnModel]) -> bytes:
    """Part 4 of the bytes."""
    writer, previous = BitWriter(), 0
    for model in models:
        writer.golomb(fold(model.alphabet.low - previous), 4)
        writer.golomb(model.alphabet.size, 4)
        writer.golomb(model.alphabet.below)
        writer.golomb(model.alphabet.above)
        previous = model.alphabet.low
        if model.table is not None:
            model.table.write(writer)
    return writer.to_bytes()


def _encode_columns(rows: NDArray[Any]) -> bytes:
    """Tables, blocks and raw bits of each row of `[columns, items]`."""
    models, tokens, distances, widths = [], [], [], []
    for row in rows:
        values = row.astype(np.int64)
        model = ColumnModel.of(values)
        models.append(model)
        if model.table is None:
            continue
        column, far = to_tokens(values, model.alphabet)
        tokens.append(column)
        outside = outside_tokens(column, model.alphabet)
        distances.append(far + np.uint64(4))
        widths.append(model.alphabet.raw_bits[column[outside]])
    parts = [write_models(models)]
    if tokens:
        tables = [model.table for model in models if model.table is not None]
        columns = _columns_of(rows.shape[1], tables)
        blocks = lanes.encode(np.concatenate(tokens), columns)
        states = 4 * lanes.layout(columns.size)[1]
        parts += [write_varint((len(block) - states) // 2) for block in blocks]
        parts += blocks
        parts.append(pack_raw(np.concatenate(distances), np.concatenate(widths)))
    return b"".join(parts)


def _columns_of(items: int, tables: list[FrequencyTable]) -> lanes.Columns:
    """What the coder needs of the tables."""
    frequencies = tuple(table.frequencies() for table in tables)
    return lanes.Columns(items, frequencies, tuple(table.precision for table in tables))


def choose_alphabet(values: NDArray[np.int64]) -> tuple[Alphabet, NDArray[np.int64]]:
    """The alphabet that codes these values best, and how often each of its tokens occurs.

    Tried are: every value as a token, only the values between two far quantiles, and classes on
    both sides of the median.
    """
    low, high = int(values.min()), int(values.max())
    if high - low < HISTOGRAM:
        histogram = np.bincount(values - low)
        distinct = np.flatnonzero(histogram)
        times, distinct = histogram[distinct], distinct + low
    else:
        distinct, times = np.unique(values, return_counts=True)
    most = max_direct(len(values))
    candidates = [Alphabet(low, high - low + 1, 0, 0)] if high - low < most else []
    if high - low >= FEW_TOKENS:
        ranks = np.cumsum(times)
        for tail in (0.001, 0.02, 0.5):
            first, last = np.searchsorted(ranks, np.array([tail, 1 - tail]) * ranks[-1])
            start, size = int(distinct[first]), int(distinct[last] - distinct[first]) + 1
            if size < min(most, high - low):
                candidates.append(alphabet_of(low, high, start, size))
    scored = []
    for alphabet in candidates:
        tokens = to_tokens(distinct, alphabet)[0]
        counts = np.zeros(alphabet.num_tokens, np.int64)
        np.add.at(counts, tokens, times)
        if len(candidates) == 1:
            return alphabet, counts
        bits = fit(counts)[1] + float(counts @ alphabet.raw_bits)
        bits *= 1 if alphabet.num_tokens == alphabet.size else CLASS_PRICE
        scored.append((bits, alphabet, counts))
    _, alphabet, counts = min(scored, key=lambda entry: entry[0])
    return alphabet, counts


def decode(data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
    """The array in `data`, in its own shape and type.

    Args:
        data: What `encode` returned.
        max_items: Refuse more values than this.

    Raises:
        CodecError: `data` is malformed or claims more than `max_items` values.
    """
    dtype, shape, columns, offset = _read_header(data, max_items)
    if 0 in shape:
        if offset != len(data):
            raise CodecError("bytes behind an empty array", offset=offset)
        return np.zeros(shape, dtype)
    count = shape[1] if columns else 1
    items = int(np.prod(shape, dtype=object)) // count
    rows = _decode_columns(data, offset, items, count, dtype)
    return np.ascontiguousarray(rows.T) if columns else rows.reshape(shape)


def _read_header(data: bytes, max_items: int) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Type, shape, whether columns have tables, and the offset behind the header."""
    if len(data) < 3:
        raise CodecError("the data ends inside the header", offset=len(data))
    version, kind, ndim = data[:3]
    if version & ~COLUMNS != VERSION:
        raise CodecError(f"version {version & ~COLUMNS}, expected {VERSION}", offset=0)
    if kind >= len(DTYPES):
        raise CodecError(f"unknown type {kind}", offset=1)
    columns = bool(version & COLUMNS)
    if ndim > MAX_DIMS or (columns and ndim != 2):
        raise CodecError(f"{ndim} dimensions", offset=2)
    offset, shape, items = 3, [], 1
    for _ in range(ndim):
        length, offset = read_varint(data, offset)
        shape.append(length)
        items *= max(1, length)
    if items > max_items:
        raise CodecError(f"shape {shape} exceeds the limit of {max_items} items", offset=offset)
    if columns and shape[1] > MAX_COLUMNS:
        raise CodecError(f"{shape[1]} columns, at most {MAX_COLUMNS} allowed", offset=offset)
    return DTYPES[kind], tuple(shape), columns, offset


def _read_alphabet(reader: BitReader, previous: int, items: int) -> Alphabet:
    low = previous + unfold(reader.golomb(4))
    size, below, above = reader.golomb(4), reader.golomb(), reader.golomb()
    alphabet = Alphabet(low, size, below, above)
    if abs(low) > MAX_MAGNITUDE or max(below, above) > MAX_CLASSES:
        raise reader.fail(f"an alphabet from {low} with {below} and {above} classes")
    if alphabet.num_tokens < 1 or size > max_direct(items):
        raise reader.fail(f"an alphabet of {size} direct tokens for {items} items")
    return alphabet


def _decode_columns(
    data: bytes, offset: int, items: int, count: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Values `[count, items]`."""
    reader = BitReader(data, offset)
    alphabets, tables, previous = [], [], 0
    for _ in range(count):
        alphabet = _read_alphabet(reader, previous, items)
        previous = alphabet.low
        alphabets.append(alphabet)
        if alphabet.num_tokens > 1:
            tables.append(FrequencyTable.read(reader, alphabet.num_tokens, items))
    tokens, offset = _read_tokens(data, reader.offset, items, tables)
    rows = np.empty((count, items), dtype)
    coded = iter(tokens)
    raw = _RawBits(data, offset)
    lowest, highest = _limits(dtype)
    for row, alphabet in zip(rows, alphabets, strict=True):
        column = np.zeros(items, np.uint16) if alphabet.num_tokens == 1 else next(coded)
        least, most = alphabet.low, alphabet.low + max(0, alphabet.size - 1)
        np.add(column, alphabet.low - alphabet.below, out=row, dtype=np.int64, casting="unsafe")
        if alphabet.below or alphabet.above:
            outside = outside_tokens(column, alphabet)
            if len(outside):
                values = far_values(column[outside], alphabet, raw.of(column[outside], alphabet))
                least, most = min(least, int(values.min())), max(most, int(values.max()))
                row[outside] = values.astype(dtype)
        if least < lowest or most > highest:
            raise CodecError(f"values outside the range of {dtype}", offset=offset)
    raw.finish()
    return rows


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Least and greatest value of a type."""
    if dtype.kind == "b":
        return 0, 1
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _read_tokens(
    data: bytes, offset: int, items: int, tables: list[FrequencyTable]
) -> tuple[NDArray[np.uint16], int]:
    """Tokens `[len(tables), items]` and the offset behind them."""
    if not tables:
        return np.zeros((0, items), np.uint16), offset
    bounds, num_lanes = lanes.layout(items * len(tables))
    num_words = []
    for _ in range(len(bounds) - 1):
        words, offset = read_varint(data, offset)
        num_words.append(words)
    tokens = lanes.decode(data, offset, num_words, _columns_of(items, tables))
    offset += sum(4 * num_lanes + 2 * words for words in num_words)
    return tokens.reshape(len(tables), items), offset


class _RawBits:
    """The last section of the file, taken column by column."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data, self._start, self._bit = data, offset, 0

    def of(self, tokens: NDArray[np.uint16], alphabet: Alphabet) -> NDArray[np.uint64]:
        """Raw bits of tokens that stand for classes, in order."""
        widths = alphabet.raw_bits[tokens]
        first, skipped = divmod(self._bit, 8)
        total = skipped + int(widths.sum())
        begin = self._start + first
        end = begin + (total + 7) // 8
        if end > len(self._data):
            raise CodecError(f"raw bits end at byte {end}", offset=len(self._data))
        self._bit += total - skipped
        section = self._data[begin:end]
        return unpack_raw(section, np.concatenate([[skipped], widths]).astype(np.int64))[1:]

    def finish(self) -> None:
        """Raise unless the section was read to its end."""
        end = self._start + (self._bit + 7) // 8
        if end != len(self._data):
            raise CodecError("bytes behind the raw bits", offset=end)
        if self._bit % 8 and self._data[end - 1] >> self._bit % 8:
            raise CodecError("the padding is not zero", offset=end - 1)


class RansCodec:
    """Integers of any shape under static frequencies; see the module for the bytes.

    Attributes:
        columns: Whether the columns of 2-D arrays have tables of their own.
    """

    name = "rans"
    lossless = True

    def __init__(self, *, columns: bool = True) -> None:
        self.columns = columns

    def encode(self, array: NDArray[Any]) -> bytes:
        """`array` as bytes; see `encode`."""
        array = np.asarray(array)
        columns = self.columns and array.ndim == 2 and 1 < array.shape[1] <= MAX_COLUMNS
        return encode(array, columns=columns)

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
        """The array in `data`; see `decode`."""
        return decode(data, max_items=max_items)

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """Differentiable estimate of `8 * len(encode(round(array)))`, in bits; see `rate`."""
        from .rate import rate

        return rate(array, columns=self.columns and array.ndim == 2)
