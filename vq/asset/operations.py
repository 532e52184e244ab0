"""What may stand between coded sections and an array.

Every operation knows the type of its result from the types of its inputs, so that a whole graph is
checked, and its memory counted, before anything is decoded. The arithmetic is integer, a copy, a
multiplication by a power of two, or one float64 multiplication and one addition per element, each
rounded by itself as IEEE 754 says: the same file gives the same bits everywhere.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..sets.coarsening import MAX_FACTORS, Coarsening, Term, check
from ..transforms.exact import exact_product
from .array_type import ArrayType
from .errors import HeaderError


class Operation(ABC):
    """One kind of inner node; a frozen dataclass whose fields are its parameters."""

    name: ClassVar[str]
    """What files call it."""
    fields: ClassVar[tuple[str, ...]] = ()
    """Its parameters in the JSON node."""
    num_inputs: ClassVar[tuple[int, int]]
    """Fewest and most inputs."""
    progressive: ClassVar[Literal["no", "anywhere", "outermost"]] = "no"
    """Where in a graph the leading inputs alone make sense, for a prefix of a file."""

    @classmethod
    def from_json(cls, node: dict[str, Any]) -> Operation:
        """The operation with the parameters of a node; wrong ones raise `HeaderError`."""
        return cls()

    def to_json(self) -> dict[str, Any]:
        """Its parameters."""
        return {}

    @abstractmethod
    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """Type of the result; inputs that do not fit raise `HeaderError`."""

    @abstractmethod
    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The result; values that do not fit raise `HeaderError`."""


@dataclass(frozen=True)
class Constant(Operation):
    """An array of one value."""

    dtype: str
    shape: tuple[int, ...]
    value: int | float
    name: ClassVar[str] = "constant"
    fields: ClassVar[tuple[str, ...]] = ("dtype", "shape", "value")
    num_inputs: ClassVar[tuple[int, int]] = (0, 0)

    @classmethod
    def from_json(cls, node: dict[str, Any]) -> Constant:
        """See `Operation`."""
        kind = ArrayType.from_json(node["dtype"], node["shape"])
        value = _number(node["value"], "value")
        if kind.is_integer:
            limits = np.iinfo(kind.dtype)
            if type(value) is not int or not limits.min <= value <= limits.max:
                raise HeaderError(f"`value` must be a number of type {kind.dtype}, got {value}.")
        elif abs(value) > float(np.finfo(kind.dtype).max):
            raise HeaderError(f"`value` {value} is beyond the range of {kind.dtype}.")
        return cls(kind.dtype, kind.shape, value)

    def to_json(self) -> dict[str, Any]:
        """See `Operation`."""
        return {"dtype": self.dtype, "shape": list(self.shape), "value": self.value}

    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """See `Operation`."""
        return ArrayType(self.dtype, self.shape)

    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """See `Operation`."""
        return np.full(self.shape, self.value, self.dtype)


@dataclass(frozen=True)
class Scale(Operation):
    """`float32(step * integer + origin)`, with one step and origin per column or one for all."""

    step: tuple[float, ...]
    origin: tuple[float, ...]
    name: ClassVar[str] = "scale"
    fields: ClassVar[tuple[str, ...]] = ("step", "origin")
    num_inputs: ClassVar[tuple[int, int]] = (1, 1)

    @classmethod
    def from_json(cls, node: dict[str, Any]) -> Scale:
        """See `Operation`."""
        return cls(_numbers(node["step"], "step"), _numbers(node["origin"], "origin"))

    def to_json(self) -> dict[str, Any]:
        """See `Operation`."""
        return {"step": list(self.step), "origin": list(self.origin)}

    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """See `Operation`."""
        (kind,) = inputs
        if not kind.is_integer:
            raise HeaderError(f"`scale` takes integers, got {kind}.")
        for label, values in (("step", self.step), ("origin", self.origin)):
            if len(values) != 1 and (not kind.shape or len(values) != kind.shape[-1]):
                raise HeaderError(
                    f"`{label}` must hold one number, or one per column of {kind}; "
                    f"got {len(values)}."
                )
        return ArrayType("float32", kind.shape)

    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """See `Operation`."""
        (integers,) = inputs
        values = np.empty(integers.shape, np.float32)
        step, origin = np.array(self.step), np.array(self.origin)
        if not integers.shape:  # a scalar takes the one step as a scalar
            step, origin = step[0], origin[0]
        with np.errstate(over="ignore"):  # a damaged step may exceed float32; infinity is a value
            for rows in _chunks(integers):
                values[rows] = integers[rows] * step + origin
        return values


@dataclass(frozen=True)
class Linear(Operation):
    """`float32(step * (integers @ rows) + origin)`: coefficients [N, r] by integer rows [r, d].

    The product of the integers is exact, so that no library's order of summation shows.
    """

    step: float
    origin: tuple[float, ...]
    name: ClassVar[str] = "linear"
    fields: ClassVar[tuple[str, ...]] = ("step", "origin")
    num_inputs: ClassVar[tuple[int, int]] = (2, 2)

    @classmethod
    def from_json(cls, node: dict[str, Any]) -> Linear:
        """See `Operation`."""
        return cls(float(_number(node["step"], "step")), _numbers(node["origin"], "origin"))

    def to_json(self) -> dict[str, Any]:
        """See `Operation`."""
        return {"step": self.step, "origin": list(self.origin)}

    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """See `Operation`."""
        coefficients, rows = inputs
        fits = all(
            kind.is_integer and np.dtype(kind.dtype).itemsize <= 4 and len(kind.shape) == 2
            for kind in inputs
        )
        if not fits or coefficients.shape[1] != rows.shape[0]:
            raise HeaderError(
                "`linear` takes integers [N, r] and [r, d] of at most 32 bits, got "
                f"{coefficients} and {rows}."
            )
        if len(self.origin) not in (1, rows.shape[1]):
            raise HeaderError(
                f"`origin` must hold 1 or {rows.shape[1]} numbers, got {len(self.origin)}."
            )
        return ArrayType("float32", (coefficients.shape[0], rows.shape[1]))

    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """See `Operation`."""
        coefficients, rows = inputs
        values = np.empty((len(coefficients), rows.shape[1]), np.float32)
        origin, rows = np.array(self.origin), rows.astype(np.int64)
        with np.errstate(over="ignore"):
            for part in _chunks(coefficients):
                try:
                    product = exact_product(coefficients[part].astype(np.int64), rows)
                except ValueError as error:
                    raise HeaderError(str(error)) from None
                values[part] = product * self.step + origin
        return values


@dataclass(frozen=True)
class Gather(Operation):
    """Rows of the first input (a codebook), chosen by the integers of the second."""

    name: ClassVar[str] = "gather"
    num_inputs: ClassVar[tuple[int, int]] = (2, 2)

    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """See `Operation`."""
        codebook, indices = inputs
        if not codebook.shape or not indices.is_integer:
            raise HeaderError(f"`gather` takes a codebook and integers, got {codebook}, {indices}.")
        return ArrayType(codebook.dtype, (*indices.shape, *codebook.shape[1:]))

    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """See `Operation`."""
        codebook, indices = inputs
        if indices.size and not 0 <= indices.min() <= indices.max() < len(codebook):
            raise HeaderError(
                f"an index lies outside [0, {len(codebook)}): {indices.min()} to {indices.max()}."
            )
        return codebook[indices.astype(np.int64, copy=False)]


@dataclass(frozen=True)
class Sum(Operation):
    """The sum of its inputs, added in order: base plus residual stages.

    Of a file opened as a prefix, the leading inputs that are there are summed.
    """

    name: ClassVar[str] = "sum"
    num_inputs: ClassVar[tuple[int, int]] = (1, 256)
    progressive: ClassVar[Literal["no", "anywhere", "outermost"]] = "anywhere"

    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """See `Operation`."""
        if len(set(inputs)) != 1:
            raise HeaderError(f"`sum` takes equal types, got {_listed(inputs)}.")
        return inputs[0]

    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """See `Operation`."""
        total = inputs[0].copy()
        with np.errstate(over="ignore", invalid="ignore"):
            for part in inputs[1:]:
                total += part
        return total


@dataclass(frozen=True)
class Stack(Operation):
    """The rows of its inputs, one input after the other: layers of a scene.

    Of a file opened as a prefix, the leading inputs that are there are stacked where this is the
    outermost operation; inside others, whose types count on all rows, all of them are needed.
    """

    name: ClassVar[str] = "stack"
    num_inputs: ClassVar[tuple[int, int]] = (1, 256)
    progressive: ClassVar[Literal["no", "anywhere", "outermost"]] = "outermost"

    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """See `Operation`."""
        first = inputs[0]
        if not first.shape or len({(kind.dtype, kind.shape[1:]) for kind in inputs}) != 1:
            raise HeaderError(f"`stack` takes types equal but for rows, got {_listed(inputs)}.")
        return ArrayType(first.dtype, (sum(kind.shape[0] for kind in inputs), *first.shape[1:]))

    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """See `Operation`."""
        return np.concatenate(inputs, axis=0)


@dataclass(frozen=True)
class Columns(Operation):
    """Entries `start` to `stop` of the last axis."""

    start: int
    stop: int
    name: ClassVar[str] = "columns"
    fields: ClassVar[tuple[str, ...]] = ("start", "stop")
    num_inputs: ClassVar[tuple[int, int]] = (1, 1)

    @classmethod
    def from_json(cls, node: dict[str, Any]) -> Columns:
        """See `Operation`."""
        start, stop = node["start"], node["stop"]
        if type(start) is not int or type(stop) is not int or not 0 <= start <= stop:
            raise HeaderError("`start` and `stop` must be integers with 0 <= start <= stop.")
        return cls(start, stop)

    def to_json(self) -> dict[str, Any]:
        """See `Operation`."""
        return {"start": self.start, "stop": self.stop}

    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """See `Operation`."""
        (kind,) = inputs
        if not kind.shape or self.stop > kind.shape[-1]:
            raise HeaderError(f"`columns` {self.start}:{self.stop} exceed {kind}.")
        return ArrayType(kind.dtype, (*kind.shape[:-1], self.stop - self.start))

    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """See `Operation`."""
        return np.ascontiguousarray(inputs[0][..., self.start : self.stop])


@dataclass(frozen=True)
class Concatenate(Operation):
    """Its inputs side by side along the last axis."""

    name: ClassVar[str] = "concatenate"
    num_inputs: ClassVar[tuple[int, int]] = (1, 256)

    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """See `Operation`."""
        if len({(kind.dtype, kind.shape[:-1], len(kind.shape) > 0) for kind in inputs}) != 1:
            raise HeaderError(
                f"`concatenate` takes equal types but for the last length, got {_listed(inputs)}."
            )
        first = inputs[0]
        if not first.shape:
            raise HeaderError("`concatenate` takes arrays, got scalars.")
        width = sum(kind.shape[-1] for kind in inputs)
        return ArrayType(first.dtype, (*first.shape[:-1], width))

    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """See `Operation`."""
        return np.concatenate(inputs, axis=-1)


@dataclass(frozen=True)
class Reshape(Operation):
    """The same elements in another shape, last axis fastest."""

    shape: tuple[int, ...]
    name: ClassVar[str] = "reshape"
    fields: ClassVar[tuple[str, ...]] = ("shape",)
    num_inputs: ClassVar[tuple[int, int]] = (1, 1)

    @classmethod
    def from_json(cls, node: dict[str, Any]) -> Reshape:
        """See `Operation`."""
        return cls(ArrayType.from_json("uint8", node["shape"]).shape)

    def to_json(self) -> dict[str, Any]:
        """See `Operation`."""
        return {"shape": list(self.shape)}

    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """See `Operation`."""
        (kind,) = inputs
        if math.prod(self.shape) != kind.size:
            raise HeaderError(f"`reshape` of {kind} to {list(self.shape)} changes the size.")
        return ArrayType(kind.dtype, self.shape)

    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """See `Operation`."""
        return inputs[0].reshape(self.shape)


@dataclass(frozen=True)
class CoarsenessOperation(Operation):
    """k of a `vq.sets.coarsening` that the columns of [N, c] integers decide, uint8 [N]."""

    rule: Coarsening
    """Columns are named by their number; without `own`."""
    name: ClassVar[str] = "coarseness"
    fields: ClassVar[tuple[str, ...]] = ("most", "constant", "terms")
    num_inputs: ClassVar[tuple[int, int]] = (1, 1)

    @classmethod
    def from_json(cls, node: dict[str, Any]) -> CoarsenessOperation:
        """See `Operation`."""
        terms = node["terms"]
        if not isinstance(terms, list) or len(terms) > MAX_FACTORS:
            raise HeaderError(f"`terms` must list at most {MAX_FACTORS} terms, got {terms!r:.60}.")
        most, constant = (_integer(node[name], name) for name in ("most", "constant"))
        rule = Coarsening(most, constant, 0, tuple(map(_term, terms)))
        try:
            check(rule)
        except ValueError as error:
            raise HeaderError(f"coarseness: {error}") from None
        return cls(rule)

    def to_json(self) -> dict[str, Any]:
        """See `Operation`."""
        terms = [
            {
                "factors": [[int(column), factor] for column, factor in term.factors],
                "low": term.low,
                "high": term.high,
            }
            for term in self.rule.terms
        ]
        return {"most": self.rule.most, "constant": self.rule.constant, "terms": terms}

    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """See `Operation`."""
        (kind,) = inputs
        if kind.dtype != "int32" or len(kind.shape) != 2:
            raise HeaderError(f"`coarseness` takes int32 [N, c], got {kind}.")
        if any(int(name) >= kind.shape[1] for name in self.rule.parents):
            raise HeaderError(f"`coarseness` asks for columns that {kind} does not have.")
        return ArrayType("uint8", kind.shape[:1])

    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
        """See `Operation`."""
        (rows,) = inputs
        found = np.empty(len(rows), np.uint8)
        for part in _chunks(rows):
            known = {name: rows[part, int(name)].astype(np.int64) for name in self.rule.parents}
            found[part] = self.rule.coarseness(self.rule.base(known), np.int64(0))
        return found


@dataclass(frozen=True)
class Shift(Operation):
    """Each row of float32 numbers times a power of two of its own: 2^(k + exponent)."""

    exponent: int
    name: ClassVar[str] = "shift"
    fields: ClassVar[tuple[str, ...]] = ("exponent",)
    num_inputs: ClassVar[tuple[int, int]] = (2, 2)

    @classmethod
    def from_json(cls, node: dict[str, Any]) -> Shift:
        """See `Operation`."""
        exponent = _integer(node["exponent"], "exponent")
        if abs(exponent) > _MAX_EXPONENT:
            raise HeaderError(f"`exponent` must lie within {_MAX_EXPONENT}, got {exponent}.")
        return cls(exponent)

    def to_json(self) -> dict[str, Any]:
        """See `Operation`."""
        return {"exponent": self.exponent}

    def infer(self, inputs: Sequence[ArrayType]) -> ArrayType:
        """See `Operation`."""
        rows, k = inputs
        if rows.dtype != "float32" or k.dtype != "uint8" or k.shape != rows.shape[:1]:
            raise HeaderError(f"`shift` takes float32 [N, ...] and uint8 [N], got {rows} and {k}.")
        return rows

    def apply(self, inputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """See `Operation`."""
        rows, k = inputs
        if k.size and int(k.max()) > _MAX_EXPONENT:
            raise HeaderError(f"a shift by 2^{k.max()}, at most 2^{_MAX_EXPONENT} is allowed.")
        factors = np.ldexp(np.float32(1), k.astype(np.int32) + self.exponent)
        with np.errstate(over="ignore"):
            return rows * factors.reshape(-1, *[1] * (rows.ndim - 1))


OPERATIONS: dict[str, type[Operation]] = {
    kind.name: kind
    for kind in (
        Constant,
        Scale,
        Linear,
        Gather,
        Sum,
        Stack,
        Columns,
        Concatenate,
        Reshape,
        CoarsenessOperation,
        Shift,
    )
}
"""Every operation of version 1 by its name in files."""

_ROWS = 1 << 16  # bounds the 64-bit intermediate
_MAX_EXPONENT = 60  # two of them are still a normal float32


def _chunks(array: NDArray[Any]) -> list[Any]:
    """Row ranges that cover `array`; all of it for a scalar."""
    if array.ndim == 0:
        return [...]
    return [slice(start, start + _ROWS) for start in range(0, len(array), _ROWS)]


def _term(value: Any) -> Term:
    if not isinstance(value, dict) or value.keys() != {"factors", "low", "high"}:
        raise HeaderError(f"a term has the fields factors, low and high, got {value!r:.60}.")
    pairs = value["factors"]
    if not isinstance(pairs, list) or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise HeaderError(f"`factors` must list pairs, got {pairs!r:.60}.")
    factors = []
    for pair in pairs:
        column, factor = _integer(pair[0], "column"), _integer(pair[1], "factor")
        if column < 0:
            raise HeaderError(f"a column must not be negative, got {column}.")
        factors.append((str(column), factor))
    return Term(tuple(factors), _integer(value["low"], "low"), _integer(value["high"], "high"))


def _integer(value: Any, name: str) -> int:
    if type(value) is not int:
        raise HeaderError(f"`{name}` must be an integer, got {value!r:.60}.")
    return value


def _number(value: Any, name: str) -> int | float:
    known = type(value) is float or (type(value) is int and abs(value) < 1 << 64)
    if not known:  # floats are finite: the JSON reader refuses others
        raise HeaderError(f"`{name}` must be a number below 2^64, got {value!r:.60}.")
    return value


def _numbers(values: Any, name: str) -> tuple[float, ...]:
    if not isinstance(values, list) or not values:
        raise HeaderError(f"`{name}` must be a list of numbers, got {values!r:.60}.")
    return tuple(float(_number(value, name)) for value in values)


def _listed(kinds: Sequence[ArrayType]) -> str:
    return ", ".join(map(str, kinds))
