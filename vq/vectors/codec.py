"""Rows to bytes and back under a plan."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from ..contract import MAX_ITEMS, CodecError
from ..entropy import rans
from ..entropy.bits import read_varint, write_varint
from ..nearest import nearest
from .coefficients import (
    Rounding,
    decode_coefficients,
    encode_coefficients,
    num_segments,
)
from .stages import OFFSET_BITS, STEP_BITS, TABLE_BITS, Plan

try:
    from vq import _native
except ImportError:
    _native = None

_ROWS = 1 << 14
_EXACT = float(1 << 53)
LARGEST_RATIO = float(1 << 19)
"""Rows may reach so many steps from the mean."""


def assign(x: NDArray[np.float32], plan: Plan) -> NDArray[np.int64]:
    """The nearest code of each of the centered rows [n, d]."""
    codes = torch.from_numpy((plan.codes * (plan.step / 2**TABLE_BITS)).astype(np.float32))
    return nearest(torch.from_numpy(np.ascontiguousarray(x)), codes)[0].numpy()


def analysis(plan: Plan) -> NDArray[np.float64]:
    """[d, r]: centered rows times this are least-squares coefficients."""
    directions = plan.basis.rows.astype(np.float64) * 2.0**-plan.basis.bits
    return np.asarray(np.linalg.pinv(directions), dtype=np.float64)


def coefficients(
    x: NDArray[np.float32], plan: Plan
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Coefficients [n, r] of rows [n, d] in steps, and the indices of their codes."""
    quarter = plan.step / 2**TABLE_BITS
    rest = x - (plan.mean * quarter).astype(np.float32)
    indices = None
    if len(plan.codes):
        indices = assign(rest, plan)
        rest = rest - (plan.codes * quarter).astype(np.float32)[indices]
    scaled = rest @ (analysis(plan) / plan.step).astype(np.float32)
    return scaled.astype(np.float32), indices


def encode_rows(
    x: NDArray[np.float32], plan: Plan, *, neighbors: NDArray[np.int32] | None = None
) -> bytes:
    """Number of rows, plan, indices of the codes, streams of coefficients."""
    if not np.isfinite(x).all():
        raise ValueError("`x` must be finite, got NaN or infinity.")
    scaled, indices = coefficients(x, plan)
    parts = [write_varint(len(x)), plan.to_bytes()]
    if indices is not None:
        stream = rans.encode(indices.astype(np.uint16))
        parts += [write_varint(len(stream)), stream]
    if not scaled.size:
        return b"".join(parts)
    if np.abs(scaled).max() > LARGEST_RATIO:
        raise ValueError(
            f"`x` reaches {np.abs(scaled).max():,.0f} steps of {plan.step:g} from its mean, more "
            f"than {LARGEST_RATIO:,.0f}; use a larger step."
        )
    values = np.zeros(scaled.shape, dtype=np.int32)
    rounding = Rounding(scaled, plan.centroids, plan.trade)
    for stream in encode_coefficients(values, rounding=rounding, neighbors=neighbors):
        parts += [write_varint(len(stream)), stream]
    return b"".join(parts)


def decode_rows(
    data: bytes, *, neighbors: NDArray[np.int32] | None = None, max_items: int = MAX_ITEMS
) -> NDArray[np.float32]:
    """The rows [n, m, k] (or [n, d] where k = 1) in `data`.

    Raises:
        CodecError: No encoder wrote `data`, or it holds more than `max_items` values.
    """
    count, offset = read_varint(data, 0)
    plan, offset = Plan.read(data, offset)
    if count * math.prod(plan.shape) > max_items:
        raise CodecError(f"{count} rows exceed the bound of {max_items} values", offset=0)
    rank, indices = len(plan.offsets), None
    if len(plan.codes):
        stream, offset = _read_stream(data, offset)
        found = rans.decode(stream, max_items=count)
        if found.shape != (count,) or (count and found.max() >= len(plan.codes)):
            raise CodecError("indices that do not fit the codes", offset=offset)
        indices = found.astype(np.int64)
    values = np.zeros((count, 0), dtype=np.int32)
    if count and rank:
        streams = []
        for _ in range(num_segments(count)):
            stream, offset = _read_stream(data, offset)
            streams.append(stream)
        decoded = decode_coefficients(streams, count, rank, neighbors=neighbors)
        if decoded is None:
            raise CodecError("coefficients that no encoder wrote", offset=offset)
        values = decoded
    if offset != len(data):
        raise CodecError("bytes behind the last stream", offset=offset)
    rows = reconstruct(values, indices, plan)
    return rows if plan.shape[1] == 1 else rows.reshape(count, *plan.shape)


def reconstruct(
    values: NDArray[np.int32], indices: NDArray[np.int64] | None, plan: Plan
) -> NDArray[np.float32]:
    """Rows [n, d] of quantized coefficients [n, r]: exact integers, rounded once at the end."""
    shift = 2.0 ** (STEP_BITS + plan.basis.bits - TABLE_BITS)
    matrix = plan.basis.rows.astype(np.float64)
    base = np.asarray(np.concatenate([plan.mean[None], plan.codes]) * shift, dtype=np.float64)
    unit = float(np.float32(plan.step)) * 2.0 ** -(STEP_BITS + plan.basis.bits)
    shifts = np.concatenate([np.zeros((len(plan.offsets), 1)), plan.offsets], axis=1)
    shifts = np.asarray(shifts * 2.0 ** (STEP_BITS - OFFSET_BITS), dtype=np.float64)
    largest = max(int(values.max(initial=0)), -int(values.min(initial=0)))
    units = largest * 2.0**STEP_BITS + np.abs(shifts).max(initial=0)
    bound = units * np.abs(matrix).sum(0).max(initial=0) + 2 * np.abs(base).max()
    if bound >= _EXACT or bound * unit > np.finfo(np.float32).max:
        raise CodecError("coefficients too large to be exact", offset=0)
    out = np.empty((len(values), len(plan.mean)), dtype=np.float32)
    if _native is not None:
        values = np.ascontiguousarray(values)
        _native.reconstruct(values, indices, matrix, shifts, 2.0**STEP_BITS, base, unit, out)
        return out
    for begin in range(0, len(values), _ROWS):
        part = slice(begin, begin + _ROWS)
        magnitudes = np.abs(values[part])
        sizes = magnitudes * 2.0**STEP_BITS
        for m in (1, 2, 3):
            sizes += (magnitudes == m if m < 3 else magnitudes >= m) * shifts[:, m]
        rows = np.copysign(sizes, values[part]) @ matrix + base[0]
        if indices is not None:
            rows += base[1:][indices[part]]
        out[part] = rows * unit
    return out


def _read_stream(data: bytes, offset: int) -> tuple[bytes, int]:
    size, start = read_varint(data, offset)
    if size > len(data) - start:
        raise CodecError(f"a stream of {size} bytes is cut off", offset=start)
    return data[start : start + size], start + size
