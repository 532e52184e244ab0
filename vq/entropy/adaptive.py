"""Adaptive coding: frequencies that change along the array.

The items, column after column of a 2-D array, are cut into chunks. Every chunk picks one of a few
sources; chunks of the same source are coded together under one table. So columns that are alike
share a table, and statistics may drift, as they do along a space-filling curve. Everything that
chooses a table is an integer in the file: decoding is the same everywhere.

Bytes: the header (`header`), whose flag says that the items are ordered column by column; unless
the array is empty, one byte log2 of the chunk length; the length of the next part as `varint`; the
source of each chunk as a uint8 array coded by `rans`; then the sources as columns (`body`), each
the items of its chunks in order. Sources without chunks take no part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..contract import MAX_ITEMS, CodecError
from . import rans
from .bits import read_varint, write_varint
from .body import decode_columns, encode_columns
from .header import Header
from .rate import rate

CHUNKS = (6, 8, 10)
"""Choices of log2 of the chunk length that the encoder tries."""
MAX_CHUNK = 20
"""Largest log2 of a chunk length."""
SOURCES = (2, 4, 8, 16)
"""Numbers of sources that the encoder tries, besides one."""
ROUNDS = 6
"""Rounds of choosing sources and learning them."""
FEATURES = 64
"""Bins in which a chunk's items are counted while sources are chosen."""


class AdaptiveCodec:
    """Integers of any shape whose statistics change along the array; see the module for the bytes.

    Raises what `rans.encode` and `rans.decode` raise.
    """

    name = "adaptive"
    lossless = True

    def encode(self, array: NDArray[Any]) -> bytes:
        """`array` as bytes: the shortest over the numbers of sources and lengths of chunks."""
        array = np.asarray(array)
        header = Header.of(array, flag=array.ndim == 2)
        items = array.reshape(-1, order="F" if header.flag else "C")
        if items.size == 0:
            return header.to_bytes()
        plans = [(MAX_CHUNK, np.zeros(-(-items.size >> MAX_CHUNK), np.uint8))]
        binned = _binned(items)
        for chunk in CHUNKS:
            if items.size >> chunk >= 4:
                counts = _counts(binned, chunk)
                plans += [(chunk, _choose(counts, sources)) for sources in SOURCES]
        best = min(plans, key=lambda plan: _estimate(binned, *plan))
        return header.to_bytes() + _encode(items, *best)

    def decode(self, data: bytes, *, max_items: int = MAX_ITEMS) -> NDArray[Any]:
        """The array in `data`."""
        header, offset = Header.read(data, max_items)
        if header.size == 0:
            if offset != len(data):
                raise CodecError("bytes behind an empty array", offset=offset)
            return np.zeros(header.shape, header.dtype)
        items = _decode(data, offset, header)
        shaped = items.reshape(header.shape, order="F" if header.flag else "C")
        return shaped.copy(order="C")

    def rate(self, array: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """Bits under one table per column; at least about what `encode` takes."""
        return rate(array, columns=array.ndim == 2)


def _encode(items: NDArray[Any], chunk: int, sources: NDArray[np.uint8]) -> bytes:
    names = rans.encode(sources)
    of_item = np.repeat(sources, 1 << chunk)[: items.size]
    columns = [items[of_item == source] for source in np.unique(sources).tolist()]
    return bytes([chunk]) + write_varint(len(names)) + names + encode_columns(columns)


def _decode(data: bytes, offset: int, header: Header) -> NDArray[Any]:
    if offset >= len(data) or data[offset] > MAX_CHUNK:
        raise CodecError(f"expected a chunk length of at most 2^{MAX_CHUNK}", offset=offset)
    chunk = data[offset]
    length, start = read_varint(data, offset + 1)
    if length > len(data) - start:
        raise CodecError("the sources of the chunks are cut off", offset=len(data))
    chunks = -(-header.size >> chunk)
    try:
        sources = rans.decode(data[start : start + length], max_items=chunks)
    except CodecError as error:
        raise CodecError("malformed sources of the chunks", offset=start + error.offset) from error
    if sources.shape != (chunks,) or sources.dtype != np.uint8:
        raise CodecError(f"expected the sources of {chunks} chunks", offset=start)
    of_item = np.repeat(sources, 1 << chunk)[: header.size]
    used, counts = np.unique(of_item, return_counts=True)
    columns = decode_columns(data, start + length, counts.tolist(), header)
    items = np.empty(header.size, header.dtype)
    for source, column in zip(used, columns, strict=True):
        items[of_item == source] = column
    return items


def _binned(items: NDArray[Any]) -> NDArray[np.int64]:
    """Items in few bins: their values where these are few, else equally filled ranges."""
    low, high = int(items.min()), int(items.max())
    if high - low < FEATURES:
        return items.astype(np.int64) - low
    sample = items[:: max(1, items.size >> 16)]
    edges = np.unique(np.quantile(sample, np.arange(1, FEATURES) / FEATURES, method="nearest"))
    return np.searchsorted(edges, items, side="right").astype(np.int64)


def _counts(binned: NDArray[np.int64], chunk: int) -> NDArray[np.float64]:
    """How often each bin occurs in each chunk, `[chunks, bins]`."""
    bins = int(binned.max()) + 1
    rows = np.arange(binned.size) >> chunk
    flat = np.bincount(rows * bins + binned, minlength=(int(rows[-1]) + 1) * bins)
    return flat.reshape(-1, bins).astype(np.float64)


def _choose(counts: NDArray[np.float64], sources: int) -> NDArray[np.uint8]:
    """A source for each chunk: those that make the chunks short, learned in turn with them."""
    overall = counts.sum(0) / counts.sum()
    # The first sources are equal shares of the chunks, by how unlikely these are on the whole.
    surprise = counts @ -np.log2(np.maximum(overall, 1e-9)) / counts.sum(1)
    ranks = np.argsort(np.argsort(surprise, kind="stable"), kind="stable")
    chosen = ranks * sources // len(counts)
    for _ in range(ROUNDS):
        totals = np.zeros((sources, counts.shape[1]))
        np.add.at(totals, chosen, counts)
        smooth = totals + overall + 1e-9
        lengths = -np.log2(smooth / smooth.sum(1, keepdims=True))
        chosen = np.argmin(counts @ lengths.T, axis=1)
    return chosen.astype(np.uint8)


def _estimate(binned: NDArray[np.int64], chunk: int, sources: NDArray[np.uint8]) -> float:
    """Bits of the bins under their sources, the sources, and tables of two bytes per four bins."""
    of_item = np.repeat(sources, 1 << chunk)[: binned.size].astype(np.int64)
    bins, count = int(binned.max()) + 1, int(sources.max()) + 1
    table = np.bincount(of_item * bins + binned, minlength=count * bins).reshape(count, bins)
    return _entropy(table) + _entropy(np.bincount(sources)[None]) + 4.0 * np.count_nonzero(table)


def _entropy(table: NDArray[np.int64]) -> float:
    """Bits of items counted in the rows of `table`, each under its row's frequencies."""
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    return float(-(table * np.log2(shares, where=table > 0, out=np.zeros_like(shares))).sum())
