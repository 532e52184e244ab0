"""Damaged bytes, each made from the number of its case alone, so that any can be made again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

_EXTREMES = (
    *(0, 1, -1, 255, 256, 65535, 2**31 - 1, 2**31, 2**32, 2**48, 2**63, 2**64, 10**30),
    *(0.5, -0.0, 1e308, True, None, "", "a", "\ud800", [], {}, [[]], float("nan"), float("inf")),
)


def case_random(seed: int, case: int) -> random.Random:
    """The random numbers of one case."""
    return random.Random((seed << 48) | case)


def damaged(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """`data` with one to three faults.

    Flipped bits, overwritten bytes, a changed little-endian integer, removed, repeated, swapped or
    inserted runs, a cut, appended bytes, a splice with one of `others`; a JSON object also gets
    values replaced, moved, removed or nested.
    """
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        if data.startswith(b"{") and rng.random() < 0.7:
            data = _edit_json(data, rng)
        else:
            data = rng.choice(_FAULTS)(data, rng, others)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    """Anywhere, but the first bytes as often as all others together."""
    end = len(data) if rng.random() < 0.5 else min(64, len(data))
    return rng.randrange(end) if end else 0


def _run(data: bytes, rng: random.Random) -> tuple[int, int]:
    """Begin and end of a run of bytes, short ones more often."""
    start = _place(data, rng)
    longest = max(1, len(data) - start)
    return start, start + min(longest, 1 << rng.randrange(longest.bit_length() + 1))


def _flip(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _count in range(rng.randint(1, 3) if data else 0):
        changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    start, end = _run(data, rng)
    end = min(end, start + 16, len(data))
    return data[:start] + rng.randbytes(max(0, end - start)) + data[end:]


def _integer(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    width = rng.choice((1, 2, 4, 8))
    start = _place(data, rng)
    if start + width > len(data):
        return data
    value = int.from_bytes(data[start : start + width], "little")
    near = (value + 1, value - 1, value << 8, value >> 1, 2 * value)
    value = rng.choice((*near, 0, -1, 1 << (8 * width - 1))) % (1 << 8 * width)
    return data[:start] + value.to_bytes(width, "little") + data[start + width :]


def _remove(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    start, end = _run(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    start, end = _run(data, rng)
    return data[:end] + data[start:]


def _insert(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    start = _place(data, rng)
    return data[:start] + rng.randbytes(rng.randint(1, 16)) + data[start:]


def _swap(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    (a, b), (c, d) = sorted((_run(data, rng), _run(data, rng)))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:] if b <= c else data


def _cut(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    return data[: _place(data, rng)]


def _append(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    return data + rng.randbytes(rng.randint(1, 32))


def _splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    start = _place(data, rng)
    return data[:start] + other[start if rng.random() < 0.5 else _place(other, rng) :]


_FAULTS: tuple[Callable[[bytes, random.Random, Sequence[bytes]], bytes], ...] = (
    *(_flip, _flip, _overwrite, _integer, _integer, _remove),
    *(_repeat, _insert, _swap, _cut, _append, _splice),
)


def _edit_json(data: bytes, rng: random.Random) -> bytes:
    """One value of a JSON object replaced, moved, removed, renamed or nested."""
    try:
        root = json.loads(data)
    except (ValueError, RecursionError):
        return data
    slots = _slots(root)
    if not slots:
        return data
    (container, key), (source, other) = rng.choice(slots), rng.choice(slots)
    kind = rng.randrange(7)
    if kind == 0:
        del container[key]
    elif kind == 1:
        container[key] = json.loads(json.dumps(source[other]))
    elif kind == 2 and isinstance(container, dict):
        container[rng.choice(("x", "op", "codec", "inputs", ""))] = container.pop(key)
    elif kind == 3:
        container[key] = _nested(container[key], rng.choice((1, 2, 40, 70, 5000)), rng)
    elif kind == 4 and isinstance(container[key], int | float):
        container[key] += rng.choice((-1, 1, 2, 0.5))
    elif kind == 5 and isinstance(container, list):
        container.append(container[key])
    else:
        container[key] = rng.choice(_EXTREMES)
    try:
        return json.dumps(root, separators=(",", ":")).encode()
    except RecursionError:
        return b"{" * 5000


def _nested(value: Any, depth: int, rng: random.Random) -> Any:
    shape = rng.randrange(3)
    for _ in range(depth):
        if shape == 0:
            value = [value]
        else:
            value = {"a": value} if shape == 1 else {"op": "sum", "inputs": [value]}
    return value


def _slots(root: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below `root`."""
    found: list[tuple[Any, Any]] = []
    open_ = [root]
    while open_:
        container = open_.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                open_.append(container[key])
    return found
