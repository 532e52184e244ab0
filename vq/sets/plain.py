"""The fast preset's sections: Morton differences and plain columns, static rANS.

Positions are the differences of their Morton codes, the first counted from 0, as one `rans` array.
A column is one byte, 0 for its values or 1 for their differences along the curve (the first
counted from 0), whichever is smaller, and a `rans` array. A column with a coarsening is the upper
bits as such a column, where k depends on them, then for k = 0, 1, ..., `most` without those of the
largest k where all the rest is zero: the rest of the values of this k, in steps of 2^k, as a `rans`
array. Each of these has its length in front (varint).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, UInt32

from ..contract import CodecError
from ..entropy import rans
from ..entropy.bits import read_varint, write_varint
from .coarsening import Coarseness
from .morton import morton_codes, morton_points


def encode_points(points: UInt32[np.ndarray, "n 3"]) -> bytes:
    """Points in Morton order, below 2^20, as bytes."""
    codes = morton_codes(points).astype(np.int64)
    return rans.encode(np.diff(codes, prepend=0))


def decode_points(data: bytes, count: int, bits: int) -> UInt32[np.ndarray, "n 3"]:
    """The points.

    Raises:
        CodecError: No encoder wrote `data`.
    """
    steps = _array(data, count)
    # The sum in floats bounds the exact one, which therefore does not overflow.
    if steps.min() < 0 or steps.sum(dtype=np.float64) >= 1 << 62:
        raise CodecError("Morton codes do not grow", offset=0)
    codes = np.cumsum(steps)
    if codes[-1] >= 1 << 3 * bits:
        raise CodecError(f"a point lies outside of {bits} bits", offset=0)
    return morton_points(codes.astype(np.uint64))


def encode_column(values: UInt32[np.ndarray, "n"], coarseness: Coarseness | None = None) -> bytes:
    """A column as bytes."""
    if coarseness is not None:
        return _encode_steps(values.astype(np.int64), coarseness)
    signed = values.astype(np.int32)
    coded = [rans.encode(signed), rans.encode(np.diff(signed, prepend=np.int32(0)))]
    kind = int(len(coded[1]) < len(coded[0]))
    return bytes([kind]) + coded[kind]


def decode_column(
    data: bytes, count: int, bits: int, coarseness: Coarseness | None = None
) -> UInt32[np.ndarray, "n"]:
    """The column.

    Raises:
        CodecError: No encoder wrote `data`.
    """
    if coarseness is not None:
        return _decode_steps(data, count, bits, coarseness)
    if not data or data[0] > 1:
        raise CodecError("a column holds neither values nor differences", offset=0)
    values = _array(data[1:], count)
    if np.abs(values).max() >= 1 << bits:
        raise CodecError(f"a value lies outside of {bits} bits", offset=0)
    if data[0] == 1:
        values = np.cumsum(values)
    if values.min() < 0 or values.max() >= 1 << bits:
        raise CodecError(f"a value lies outside of {bits} bits", offset=0)
    return values.astype(np.uint32)


def _encode_steps(values: Int64[np.ndarray, "n"], coarseness: Coarseness) -> bytes:
    rule, parts = coarseness.rule, []
    upper = values >> rule.most << rule.most if rule.own else 0 * values
    if rule.own:
        parts.append(encode_column((values >> rule.most).astype(np.uint32)))
    k, rest = coarseness.each(upper), values - upper
    for number in range(rule.most + (rule.own == 0)):
        parts.append(rans.encode((rest[k == number] >> number).astype(np.int32)))
    return b"".join(write_varint(len(part)) + part for part in parts)


def _decode_steps(
    data: bytes, count: int, bits: int, coarseness: Coarseness
) -> UInt32[np.ndarray, "n"]:
    rule, offset, values = coarseness.rule, 0, np.zeros(count, np.int64)

    def part() -> bytes:
        nonlocal offset
        length, start = read_varint(data, offset)
        offset = start + length
        if offset > len(data):
            raise CodecError("a part of a column is cut off", offset=start)
        return data[start:offset]

    if rule.own:
        upper = decode_column(part(), count, max(0, bits - rule.most))
        values += upper.astype(np.int64) << rule.most
    k = coarseness.each(values)
    for number in range(rule.most + (rule.own == 0)):
        rows = k == number
        steps = _array(part(), int(rows.sum()))
        if steps.size and not 0 <= steps.min() <= steps.max() < 1 << bits:
            raise CodecError(f"a value lies outside of {bits} bits", offset=offset)
        values[rows] += steps << number
    if offset != len(data) or values.max(initial=0) >= 1 << bits:
        raise CodecError(f"a column that is not one of {bits} bits", offset=offset)
    return values.astype(np.uint32)


def _array(data: bytes, count: int) -> Int64[np.ndarray, "n"]:
    array = rans.decode(data, max_items=max(1, count))
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.signedinteger):
        raise CodecError(f"an array of shape {array.shape}, expected {count} values", offset=0)
    return array.astype(np.int64)
