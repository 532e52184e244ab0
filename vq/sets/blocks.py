"""One block of points: its sections under either preset.

Under "small", the section of a column is the weights of its linear prediction (`num_features`
numbers int16, little-endian, in units of 2^-12) and the bytes of `columns`; the section of the
points is that of `points`. Under "fast", both are those of `plain`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt32

from ..contract import CodecError
from . import columns, plain, points
from .coarsening import Coarseness
from .container import Section, SetHeader
from .neighbors import earlier_neighbors


@dataclass
class Block:
    """Points and what is known of their columns."""

    points: UInt32[np.ndarray, "n 3"]
    """The upper bits of the positions, in Morton order."""
    neighbors: Int32[np.ndarray, "m 12"]
    """`earlier_neighbors` of the points; [0, 12] where no column needs it."""
    columns: list[UInt32[np.ndarray, "n"]]
    """In the order of `SetHeader.coded_columns`; a decoder replaces them one by one."""

    def context(self, header: SetHeader, index: int) -> columns.ColumnContext:
        """What is known before a column."""
        column = header.coded_columns[index]
        parents = [self.columns[parent] for parent in column.parents]
        coarseness = self.coarseness(header, index)
        return columns.ColumnContext(self.neighbors, parents, column.bits, coarseness)

    def coarseness(self, header: SetHeader, index: int) -> Coarseness | None:
        """Of a column's values, from columns that are known."""
        column = header.coded_columns[index]
        if column.coarsening is None:
            return None
        known = {
            other.name: values.astype(np.int64) + other.minimum
            for other, values in zip(header.coded_columns, self.columns, strict=True)
            if other.name in column.coarsening.parents
        }
        base = column.coarsening.base(known) + column.coarsening.own * column.minimum
        each = np.broadcast_to(np.asarray(base, np.int64), (len(self.points),))
        return Coarseness(column.coarsening, np.ascontiguousarray(each))


def make_block(
    header: SetHeader, upper: UInt32[np.ndarray, "n 3"], known: list[UInt32[np.ndarray, "n"]]
) -> Block:
    """A block with the neighbors that its preset needs."""
    if header.preset == "small" and any(column.bits for column in header.coded_columns):
        return Block(upper, earlier_neighbors(upper, columns.NEAR), known)
    return Block(upper, np.empty((0, columns.NEAR), np.int32), known)


def encode_points(header: SetHeader, block: Block) -> bytes:
    """The section of the points."""
    if header.preset == "fast":
        return plain.encode_points(block.points)
    return points.encode_points(block.points, _upper_bits(header))


def decode_points(header: SetHeader, section: Section, count: int) -> Block:
    """A block with all columns zero."""
    if header.preset == "fast":
        with _located(section):
            upper = plain.decode_points(section.data, count, _upper_bits(header))
    else:
        upper = points.decode_points(section.data, count, _upper_bits(header))
        if upper is None:
            raise CodecError("no encoder wrote these points", offset=section.offset)
    zeros = [np.zeros(count, np.uint32) for _ in header.coded_columns]
    return make_block(header, upper, zeros)


def encode_column(header: SetHeader, block: Block, index: int) -> bytes:
    """The section of a column that has bits."""
    values = block.columns[index]
    if header.preset == "fast":
        return plain.encode_column(values, block.coarseness(header, index))
    context = block.context(header, index)
    weights = columns.fit_weights(context, values)
    return weights.astype("<i2").tobytes() + columns.encode_column(context, weights, values)


def decode_column(
    header: SetHeader, block: Block, index: int, section: Section
) -> UInt32[np.ndarray, "n"]:
    """The column of a section."""
    bits = header.coded_columns[index].bits
    if header.preset == "fast":
        with _located(section):
            coarseness = block.coarseness(header, index)
            return plain.decode_column(section.data, len(block.points), bits, coarseness)
    context = block.context(header, index)
    size = 2 * context.num_features
    if len(section.data) < size:
        raise CodecError("a column's weights are cut off", offset=section.offset)
    weights = np.frombuffer(section.data[:size], "<i2").astype(np.int16)
    values = columns.decode_column(section.data[size:], context, weights)
    if values is None:
        raise CodecError("no encoder wrote this column", offset=section.offset + size)
    return values


@contextmanager
def _located(section: Section) -> Iterator[None]:
    """Says in which section an error happened."""
    try:
        yield
    except CodecError as error:
        raise CodecError(f"in a section: {error}", offset=section.offset) from error


def _upper_bits(header: SetHeader) -> int:
    return header.position_bits - header.lower_bits
