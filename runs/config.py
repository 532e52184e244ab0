"""Configurations as plain JSON: nested dataclasses out, and back into a given type."""

from __future__ import annotations

import enum
import math
import types
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

TYPE_KEY = "$type"
"""Key under which a dataclass leaves its name, to tell the members of a union apart."""

T = TypeVar("T")


def config_to_json(config: Any) -> Any:
    """A dataclass (or a value inside one) as dicts, lists, strings, numbers, booleans and None.

    Paths become strings, enum members their names, tuples and sets lists.

    Raises:
        TypeError: A value is of another kind, such as a tensor or a function.
        ValueError: A number is not finite; None says "no limit" in JSON, infinity cannot.
    """
    return _to_json(config, "config")


def config_from_json(kind: type[T], value: Any) -> T:
    """The dataclass `kind` that `config_to_json` wrote as `value`.

    Fields that are absent take their defaults, so configurations of older versions stay readable.

    Raises:
        ValueError: Unknown or missing fields or values of the wrong type, named by dotted path.
    """
    return _from_json(kind, value, "config")


def _to_json(value: Any, where: str) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        entries = {
            f.name: _to_json(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value)
        }
        return {TYPE_KEY: type(value).__name__} | entries
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _to_json(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} must be finite to be saved, got {value}; use None for no limit.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{where} must hold plain settings, got {type(value).__name__}.")


def _from_json(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _union_from_json(get_args(kind), value, where)
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_from_json(kind, value, where)
    if origin is Literal:
        if value in get_args(kind):
            return value
        raise ValueError(f"{where} must be one of {list(get_args(kind))}, got {value!r}.")
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        if value in kind.__members__:
            return kind[value]
        raise ValueError(f"{where} must be one of {list(kind.__members__)}, got {value!r}.")
    if (origin or kind) in (list, tuple):
        return _sequence_from_json(origin or kind, get_args(kind), value, where)
    if (origin or kind) is dict:
        item_kind = (get_args(kind) or (str, Any))[1]
        entries = _expect(dict, value, where)
        return {key: _from_json(item_kind, item, f"{where}.{key}") for key, item in entries.items()}
    return _plain_from_json(kind, value, where)


def _dataclass_from_json(kind: Any, value: Any, where: str) -> Any:
    entries = dict(_expect(dict, value, where))
    name = entries.pop(TYPE_KEY, kind.__name__)
    if name != kind.__name__:
        raise ValueError(f"{where} must be a {kind.__name__}, got a {name}.")
    known = {f.name: f for f in fields(kind) if f.init}
    if unknown := sorted(entries.keys() - known.keys()):
        raise ValueError(
            f"{where} has unknown fields {unknown}; {kind.__name__} has {list(known)}."
        )
    hints = get_type_hints(kind)
    missing = [
        name
        for name, f in known.items()
        if name not in entries and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ValueError(f"{where} lacks the fields {missing} of {kind.__name__}.")
    return kind(
        **{name: _from_json(hints[name], item, f"{where}.{name}") for name, item in entries.items()}
    )


def _union_from_json(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """The first member that accepts the value; a dataclass only under its own name."""
    if isinstance(value, dict) and TYPE_KEY in value:
        named = [kind for kind in kinds if getattr(kind, "__name__", None) == value[TYPE_KEY]]
        if named:
            return _from_json(named[0], value, where)
    for kind in kinds:
        try:
            return _from_json(kind, value, where)
        except ValueError:
            continue
    choices = [getattr(kind, "__name__", str(kind)) for kind in kinds]
    raise ValueError(f"{where} must be one of {choices}, got {_describe(value)}.")


def _sequence_from_json(kind: Any, items: tuple[Any, ...], value: Any, where: str) -> Any:
    entries = _expect(list, value, where)
    if kind is list or not items or items[-1] is Ellipsis:
        kinds = [items[0] if items else Any] * len(entries)
    else:
        kinds = list(items)
    if len(kinds) != len(entries):
        raise ValueError(f"{where} must have {len(kinds)} items, got {len(entries)}.")
    pairs = zip(kinds, entries, strict=True)
    return kind(_from_json(item, entry, f"{where}[{i}]") for i, (item, entry) in enumerate(pairs))


def _plain_from_json(kind: Any, value: Any, where: str) -> Any:
    if kind is Path:
        return Path(_expect(str, value, where))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (None, types.NoneType):
        return _expect(types.NoneType, value, where)
    if kind in (bool, int, float, str):
        return _expect(kind, value, where)
    raise ValueError(f"{where} has the type {kind}, which cannot be read from JSON.")


def _expect(kind: type, value: Any, where: str) -> Any:
    if type(value) is not kind:  # exact: True is no int here
        raise ValueError(f"{where} must be a {kind.__name__}, got {_describe(value)}.")
    return value


def _describe(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"
