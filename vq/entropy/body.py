"""Columns of integers under tables of their own, coded together: what the static codecs share.

Bytes, in this order (codes and bit order as in `bits`):

1. The models, as one run of bits padded to a byte. Per column its alphabet (`tokens`): `low` minus
   the previous column's (0 before the first), folded golomb(4); `size` golomb(4); `below` and
   `above` golomb(0). Then, unless the alphabet has one token, its frequency table (`tables`).
2. Where a column has more than one token: per block (`lanes.layout` of the number of items of all
   such columns) the number of words as `varint`, then the blocks, each its states as uint32 and
   its words as uint16, little-endian (`lanes`). Columns with one token take no part.
3. The raw bits of all tokens that stand for classes, column by column and item by item, lowest bit
   first, padded with zeros to a byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import CodecError
from . import lanes
from .bits import BitReader, BitWriter, fold, read_varint, unfold, write_varint
from .header import Header
from .tables import FrequencyTable, fit
from .tokens import (
    FEW_TOKENS,
    MAX_CLASSES,
    MAX_MAGNITUDE,
    Alphabet,
    RawBits,
    alphabet_of,
    far_values,
    max_direct,
    outside_tokens,
    pack_raw,
    to_tokens,
)

CLASS_PRICE = 1.001
"""Classes have to save this much to be used, as they take another pass over the tokens."""
HISTOGRAM = 1 << 22
"""Spread of values up to which they are counted directly instead of sorted."""


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


def write_models(models: Sequence[ColumnModel]) -> bytes:
    """Part 1 of the bytes."""
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


def encode_columns(columns: Sequence[NDArray[Any]]) -> bytes:
    """Columns of at least one integer each as bytes."""
    models, tokens, distances, widths = [], [], [], []
    for column in columns:
        values = column.astype(np.int64)
        model = ColumnModel.of(values)
        models.append(model)
        if model.table is None:
            continue
        coded, far = to_tokens(values, model.alphabet)
        tokens.append(coded)
        distances.append(far + np.uint64(4))
        widths.append(model.alphabet.raw_bits[coded[outside_tokens(coded, model.alphabet)]])
    parts = [write_models(models)]
    if tokens:
        tables = [model.table for model in models if model.table is not None]
        sources = _sources([len(coded) for coded in tokens], tables)
        blocks = lanes.encode(np.concatenate(tokens), sources)
        states = 4 * lanes.layout(sources.size)[1]
        parts += [write_varint((len(block) - states) // 2) for block in blocks]
        parts += blocks
        parts.append(pack_raw(np.concatenate(distances), np.concatenate(widths)))
    return b"".join(parts)


def _sources(lengths: list[int], tables: list[FrequencyTable]) -> lanes.Sources:
    """What the coder needs of the tables."""
    frequencies = tuple(table.frequencies() for table in tables)
    return lanes.Sources(tuple(lengths), frequencies, tuple(table.precision for table in tables))


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


def decode_columns(
    data: bytes, offset: int, lengths: Sequence[int], header: Header
) -> list[NDArray[Any]]:
    """The columns at `offset`, which reach to the end of `data`, in the header's type.

    Args:
        lengths: Items of each column, at least one each.

    Raises:
        CodecError: The bytes are malformed, or a value does not fit the type.
    """
    reader = BitReader(data, offset)
    alphabets, tables, previous = [], [], 0
    for items in lengths:
        alphabet = _read_alphabet(reader, previous, items)
        previous = alphabet.low
        alphabets.append(alphabet)
        several = alphabet.num_tokens > 1
        tables.append(FrequencyTable.read(reader, alphabet.num_tokens, items) if several else None)
    tokens, offset = _read_tokens(data, reader.offset, lengths, tables)
    raw = RawBits(data, offset)
    columns = [
        _values(coded, alphabet, raw, header)
        for coded, alphabet in zip(tokens, alphabets, strict=True)
    ]
    raw.finish()
    return columns


def _values(
    tokens: NDArray[np.uint16], alphabet: Alphabet, raw: RawBits, header: Header
) -> NDArray[Any]:
    """Items of a column."""
    least, most = alphabet.low, alphabet.low + max(0, alphabet.size - 1)
    values = np.empty(len(tokens), header.dtype)
    shift = alphabet.low - alphabet.below
    np.add(tokens, shift, out=values, dtype=np.int64, casting="unsafe")
    if alphabet.below or alphabet.above:
        outside = outside_tokens(tokens, alphabet)
        if len(outside):
            far = far_values(tokens[outside], alphabet, raw.of(tokens[outside], alphabet))
            least, most = min(least, int(far.min())), max(most, int(far.max()))
            values[outside] = far.astype(header.dtype)
    if least < header.limits[0] or most > header.limits[1]:
        raise CodecError(f"values outside the range of {header.dtype}", offset=raw.offset)
    return values


def _read_alphabet(reader: BitReader, previous: int, items: int) -> Alphabet:
    low = previous + unfold(reader.golomb(4))
    size, below, above = reader.golomb(4), reader.golomb(), reader.golomb()
    if abs(low) > MAX_MAGNITUDE or max(below, above) > MAX_CLASSES:
        raise reader.fail(f"an alphabet from {low} with {below} and {above} classes")
    if below + size + above < 1 or size > max_direct(items):
        raise reader.fail(f"an alphabet of {size} direct tokens for {items} items")
    return Alphabet(low, size, below, above)


def _read_tokens(
    data: bytes, offset: int, lengths: Sequence[int], tables: Sequence[FrequencyTable | None]
) -> tuple[list[NDArray[np.uint16]], int]:
    """Tokens of each column, and the offset behind them."""
    coded = [items for items, table in zip(lengths, tables, strict=True) if table is not None]
    parts: list[NDArray[np.uint16]] = []
    if coded:
        sources = _sources(coded, [table for table in tables if table is not None])
        bounds, num_lanes = lanes.layout(sources.size)
        num_words = []
        for _ in range(len(bounds) - 1):
            words, offset = read_varint(data, offset)
            num_words.append(words)
        tokens = lanes.decode(data, offset, num_words, sources)
        offset += sum(4 * num_lanes + 2 * words for words in num_words)
        parts = np.split(tokens, np.cumsum(coded)[:-1])
    following = iter(parts)
    return [
        np.zeros(items, np.uint16) if table is None else next(following)
        for items, table in zip(lengths, tables, strict=True)
    ], offset
