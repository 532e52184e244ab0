"""Sets of lattice points with integer columns to bytes and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Int, Integer, Shaped, UInt32
from numpy.typing import NDArray

from ..contract import MAX_ITEMS, CodecError
from .blocks import Block, decode_column, decode_points, encode_column, encode_points, make_block
from .coarsening import Coarsening, check
from .columns import MAX_BITS, MAX_PARENTS
from .container import (
    DTYPES,
    MAX_POSITION_BITS,
    PRESETS,
    ColumnHeader,
    Reader,
    Section,
    SetHeader,
    with_checksum,
    write_section,
)
from .morton import morton_order

try:
    from vq import _native
except ImportError:
    _native = None

DEFAULT_PARENTS = 3
"""Columns just before a column that predict it unless the caller says otherwise."""
_MAX_VALUE = 1 << 62


def encode(
    positions: Shaped[np.ndarray, "n 3"],
    columns: Mapping[str, NDArray[Any]],
    *,
    parents: Mapping[str, Sequence[str]] | None = None,
    coarsenings: Mapping[str, Coarsening] | None = None,
    preset: str = "small",
) -> bytes:
    """A set of points as bytes; the order of the points is not kept.

    Args:
        positions: Integers, within 2^42 of each other per axis. Points may coincide.
        columns: Integers [N] by name, each column's values within 2^24 of each other. Columns that
            tell something about others should stand before them.
        parents: Names of up to 16 earlier columns that predict a column, the most telling last;
            columns that are not named here are predicted from the three before them.
        coarsenings: By name of a column which of its lower bits are zero, decided by earlier
            columns and by its own upper bits; what is known to be zero is not coded.
        preset: "small" mixes contexts; "fast" codes Morton differences and plain columns by static
            rANS and uses no parents.

    Raises:
        ValueError: A type, shape or range does not fit, `parents` or `coarsenings` name no earlier
            column, or bits are not zero that should be.

    The same points in any order give the same bytes.
    """
    header, upper, coded = _prepare(positions, columns, parents or {}, coarsenings or {}, preset)
    with _threads() as each:
        blocks = list(
            each(
                lambda rows: make_block(header, upper[rows], [column[rows] for column in coded]),
                header.blocks,
            )
        )
        written = [i for i, column in enumerate(header.coded_columns) if column.bits]
        tasks = [(block, index) for block in blocks for index in (-1, *written)]

        def section(task: tuple[Block, int]) -> bytes:
            block, index = task
            data = encode_points(header, block) if index < 0 else encode_column(header, *task)
            return write_section(data)

        return with_checksum(header.to_bytes() + b"".join(each(section, tasks)))


def decode(
    data: bytes, *, max_items: int = MAX_ITEMS
) -> tuple[Shaped[np.ndarray, "n 3"], dict[str, NDArray[Any]]]:
    """The positions and columns in `data`, in their own types.

    Args:
        data: What `encode` returned.
        max_items: Refuse more coordinates and values than this.

    Returns:
        Positions [N, 3], sorted by the Morton code of their upper 20 bits, then by their lower
        bits, then by the columns in turn; and the columns in the same order.

    Raises:
        CodecError: `data` is malformed or holds more than `max_items` values.
    """
    reader = Reader(data)
    header = reader.header(max_items)
    sections = [_read_block(reader, header) for _ in header.blocks]
    reader.finish()
    with _threads() as each:
        sizes = [rows.stop - rows.start for rows in header.blocks]
        blocks = list(
            each(
                lambda task: decode_points(header, task[0][-1], task[1]),
                list(zip(sections, sizes, strict=True)),
            )
        )
        for wave in _waves(header.coded_columns):
            tasks = [(number, index) for number in range(len(blocks)) for index in wave]

            def fill(task: tuple[int, int]) -> None:
                block, section = blocks[task[0]], sections[task[0]][task[1]]
                block.columns[task[1]] = decode_column(header, block, task[1], section)

            list(each(fill, tasks))
    return _assemble(header, blocks)


def breakdown(data: bytes, *, max_items: int = MAX_ITEMS) -> dict[str, int]:
    """Bytes by part: "positions", each column by its name, and "" for headers and checksum.

    Raises:
        CodecError: `data` is malformed or holds more than `max_items` values.
    """
    reader = Reader(data)
    header = reader.header(max_items)
    names = [column.name or "positions" for column in header.coded_columns]
    cost = dict.fromkeys(["", "positions", *names], 0)
    for _ in header.blocks:
        for index, section in _read_block(reader, header).items():
            cost["positions" if index < 0 else names[index]] += len(section.data)
    reader.finish()
    cost[""] = len(data) - sum(cost.values())
    return cost


def coarsenings(data: bytes, *, max_items: int = MAX_ITEMS) -> dict[str, Coarsening]:
    """The rules that `encode` was given, by name of a column.

    Raises:
        CodecError: `data` is malformed or holds more than `max_items` values.
    """
    header = Reader(data).header(max_items)
    return {c.name: c.coarsening for c in header.columns if c.coarsening is not None}


def _prepare(
    positions: Shaped[np.ndarray, "n 3"],
    columns: Mapping[str, NDArray[Any]],
    parents: Mapping[str, Sequence[str]],
    rules: Mapping[str, Coarsening],
    preset: str,
) -> tuple[SetHeader, UInt32[np.ndarray, "n 3"], list[UInt32[np.ndarray, "n"]]]:
    """Header, upper bits of the positions and coded columns, in the one order of the set."""
    if preset not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}, got {preset!r}.")
    minima, lattice = _from_minimum("positions", positions, MAX_POSITION_BITS)
    count = len(lattice)
    found, coded = [], []
    for index, (name, values) in enumerate(columns.items()):
        if not name or values.shape != (count,):
            raise ValueError(
                f"`columns` must be [{count}] arrays with names, got {name!r}: {values.shape}."
            )
        coarsening = rules.get(name)
        step = 1
        if coarsening is not None:
            _check_coarsening(name, coarsening, values, dict(list(columns.items())[:index]))
            step = 1 << coarsening.most
        [minimum], above = _from_minimum(f"columns[{name!r}]", values[:, None], MAX_BITS, step)
        numbers = _parent_indices(name, parents, list(columns)[:index])
        bits = int(above.max(initial=0)).bit_length()
        dtype = DTYPES[_dtype_index(values)]
        found.append(ColumnHeader(name, dtype, minimum, bits, numbers, coarsening))
        coded.append(above[:, 0].astype(np.uint32))
    dtype = DTYPES[_dtype_index(positions)]
    bits = int(lattice.max(initial=0)).bit_length()
    header = SetHeader(preset, count, dtype, (minima[0], minima[1], minima[2]), bits, tuple(found))
    low = header.lower_bits
    if low:
        coded = [*(lattice & ((1 << low) - 1)).T.astype(np.uint32), *coded]
    upper = (lattice >> low).astype(np.uint32)
    order = canonical_order(upper, coded)
    return header, upper[order], [column[order] for column in coded]


def _check_coarsening(
    name: str, coarsening: Coarsening, values: NDArray[Any], earlier: Mapping[str, NDArray[Any]]
) -> None:
    """Raises ValueError where a column does not keep to its coarsening."""
    unknown = coarsening.parents - set(earlier)
    if unknown:
        raise ValueError(
            f"`coarsenings[{name!r}]` must name earlier columns, {list(earlier)}, got {unknown}."
        )
    check(coarsening)
    own = values.astype(np.int64)
    known = {parent: earlier[parent].astype(np.int64) for parent in coarsening.parents}
    if any(column.dtype.itemsize > 4 for column in (values, *(earlier[p] for p in known))):
        raise ValueError(f"`coarsenings[{name!r}]` must be of columns of at most 32 bits.")
    k = coarsening.coarseness(coarsening.base(known), own)
    wrong = np.flatnonzero(np.asarray(own >> k << k != own))
    if len(wrong):
        raise ValueError(
            f"`columns[{name!r}]` must hold multiples of 2^k by its coarsening, got "
            f"{values[wrong[0]]} at point {wrong[0]}, where k is {k[wrong[0]]}."
        )


def _from_minimum(
    name: str, values: NDArray[Any], max_bits: int, step: int = 1
) -> tuple[list[int], Int[np.ndarray, "n d"]]:
    """The minimum of each column of [n, d] integers, rounded down to a multiple of `step`, and
    what lies above it."""
    _dtype_index(values, name)
    if len(values) == 0:
        return [0] * values.shape[1], values.astype(np.int64)
    if int(values.max()) > _MAX_VALUE or int(values.min()) < -_MAX_VALUE:
        raise ValueError(f"`{name}` must lie within 2^62, got {values.min()} to {values.max()}.")
    minima = values.min(0).astype(np.int64) // step * step
    above = values.astype(np.int64) - minima
    if int(above.max()) >= 1 << max_bits:
        raise ValueError(
            f"`{name}` must span less than 2^{max_bits}, got {values.min()} to {values.max()}; "
            "split it into columns of upper and lower bits."
        )
    return minima.tolist(), above


def _dtype_index(values: NDArray[Any], name: str = "columns") -> int:
    dtype = values.dtype.newbyteorder("=")
    if dtype not in DTYPES:
        raise ValueError(f"`{name}` must hold integers of 8 to 64 bits, got {values.dtype}.")
    return DTYPES.index(dtype)


def _parent_indices(
    name: str, parents: Mapping[str, Sequence[str]], earlier: list[str]
) -> tuple[int, ...]:
    chosen = parents.get(name, earlier[-DEFAULT_PARENTS:])
    unknown = [parent for parent in chosen if parent not in earlier]
    if unknown or len(chosen) > MAX_PARENTS:
        raise ValueError(
            f"`parents[{name!r}]` must name up to {MAX_PARENTS} of the earlier columns {earlier}, "
            f"got {list(chosen)}."
        )
    return tuple(earlier.index(parent) for parent in chosen)


def canonical_order(
    upper: UInt32[np.ndarray, "n 3"], coded: Sequence[Integer[np.ndarray, "n"]]
) -> Int[np.ndarray, "n"]:
    """By Morton code, then by the columns in turn."""
    order = morton_order(upper)
    ordered = upper[order]
    alike = (ordered[1:] == ordered[:-1]).all(1)
    tied = np.flatnonzero(np.append(alike, False) | np.append(False, alike)[: len(order)])
    if len(tied) and coded:
        # Runs of equal points are numbered; inside each, the columns decide.
        run = np.cumsum(np.append(0, ~alike))[tied]
        keys = [column[order[tied]] for column in reversed(coded)]
        order[tied] = order[tied][np.lexsort((*keys, run))]
    return order


def _read_block(reader: Reader, header: SetHeader) -> dict[int, Section]:
    """The sections of one block by the index of the column; -1 is the points."""
    written = [i for i, column in enumerate(header.coded_columns) if column.bits]
    return {index: reader.section() for index in (-1, *written)}


def _waves(columns: Sequence[ColumnHeader]) -> list[list[int]]:
    """Columns that have bits, grouped so that parents come in an earlier group."""
    depths: list[int] = []
    for index, column in enumerate(columns):
        names = column.coarsening.parents if column.coarsening else ()
        needed = [*column.parents, *(i for i in range(index) if columns[i].name in names)]
        depths.append(1 + max((depths[parent] for parent in needed), default=-1))
    coded = [index for index, column in enumerate(columns) if column.bits]
    return [
        [i for i in coded if depths[i] == depth] for depth in sorted({depths[i] for i in coded})
    ]


def _assemble(
    header: SetHeader, blocks: list[Block]
) -> tuple[Shaped[np.ndarray, "n 3"], dict[str, NDArray[Any]]]:
    """The blocks in one piece, in the caller's types."""
    width = len(header.coded_columns)
    low = header.lower_bits
    upper = [block.points for block in blocks] or [np.zeros((0, 3), np.uint32)]
    lattice = np.concatenate(upper).astype(np.int64) << low
    coded = [
        np.concatenate([np.zeros(0, np.uint32), *(block.columns[i] for block in blocks)])
        for i in range(width)
    ]
    if low:
        lattice |= np.stack(coded[:3], 1)
        coded = coded[3:]
    positions = _restored(lattice + np.array(header.minima), header.dtype)
    values = {
        column.name: _restored(found.astype(np.int64) + column.minimum, column.dtype)
        for column, found in zip(header.columns, coded, strict=True)
    }
    return positions, values


def _restored(values: NDArray[np.int64], dtype: np.dtype) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    if values.size and (values.min() < limits.min or int(values.max()) > limits.max):
        raise CodecError(f"values outside of the range of {dtype}", offset=0)
    return values.astype(dtype)


@contextmanager
def _threads() -> Iterator[Callable[..., Iterator[Any]]]:
    """`map` over as many threads as the kernels use; the kernels release Python's lock."""
    if _native is None or _native.num_threads() < 2:
        yield map
        return
    with ThreadPoolExecutor(_native.num_threads()) as pool:
        yield pool.map
