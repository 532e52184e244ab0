"""How an array comes out of sections: a tree of operations on coded sections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..sets.coarsening import Coarsening
from .array_type import ArrayType
from .errors import HeaderError
from .layout import MAX_NODES
from .operations import (
    OPERATIONS,
    CoarsenessOperation,
    Columns,
    Concatenate,
    Constant,
    Gather,
    Linear,
    Operation,
    Reshape,
    Shift,
    Stack,
    Sum,
)
from .operations import Scale as ScaleOperation

_LEAF_FIELDS = {"codec", "section", "dtype", "shape"}


@dataclass(frozen=True)
class Coded:
    """What a codec makes of one section."""

    section: str
    """Name of the section."""
    codec: str
    """Name of the codec, as registered in the entry points `fieldwright.codecs`."""
    type: ArrayType
    """What decoding must give."""
    inputs: tuple[Node, ...] = ()
    """Arrays that the codec knows before it decodes, such as the points that values belong to."""

    def to_json(self) -> dict[str, Any]:
        """The leaf, and what it depends on, as a header holds them."""
        found: dict[str, Any] = {
            "codec": self.codec,
            "section": self.section,
            "dtype": self.type.dtype,
            "shape": list(self.type.shape),
        }
        if self.inputs:
            found["inputs"] = [node.to_json() for node in self.inputs]
        return found

    def __str__(self) -> str:
        inner = "".join(f"; {node}" for node in self.inputs)
        return f"{self.codec}[{self.section}{inner}]"


@dataclass(frozen=True)
class Apply:
    """An inner node: an operation on other nodes."""

    operation: Operation
    """What is done."""
    inputs: tuple[Node, ...]
    """To what."""
    type: ArrayType
    """What comes out."""

    def to_json(self) -> dict[str, Any]:
        """The node and all below it as a header holds them."""
        found: dict[str, Any] = {"op": self.operation.name, **self.operation.to_json()}
        if self.inputs:
            found["inputs"] = [node.to_json() for node in self.inputs]
        return found

    def __str__(self) -> str:
        inner = ", ".join(map(str, self.inputs))
        return f"{self.operation.name}({inner})"


Node = Coded | Apply


def apply(operation: Operation, *inputs: Node) -> Apply:
    """A checked inner node.

    Raises:
        HeaderError: The inputs are too few, too many, or of types that do not fit.
    """
    fewest, most = operation.num_inputs
    if not fewest <= len(inputs) <= most:
        raise HeaderError(f"`{operation.name}` takes {fewest} to {most} inputs, got {len(inputs)}.")
    return Apply(operation, inputs, operation.infer([node.type for node in inputs]))


def constant(value: int | float, dtype: str, shape: tuple[int, ...]) -> Apply:
    """An array of one value, which costs no section."""
    return apply(Constant(dtype, shape, value))


def scale(node: Node, *, step: Sequence[float], origin: Sequence[float] = (0.0,)) -> Apply:
    """`float32(step * integers + origin)`; one step and origin per column, or one for all."""
    return apply(ScaleOperation(tuple(step), tuple(origin)), node)


def linear(node: Node, rows: Node, *, step: float, origin: Sequence[float] = (0.0,)) -> Apply:
    """`float32(step * (integers [N, r] @ integer rows [r, d]) + origin)`."""
    return apply(Linear(step, tuple(origin)), node, rows)


def gather(codebook: Node, indices: Node) -> Apply:
    """Rows of `codebook` [K, ...] chosen by the integers `indices`."""
    return apply(Gather(), codebook, indices)


def add(*stages: Node) -> Apply:
    """Base plus residual stages; a prefix of the file decodes to a prefix of the stages."""
    return apply(Sum(), *stages)


def stack(*layers: Node) -> Apply:
    """Rows of one layer after the other; a prefix of the file decodes to the leading layers."""
    return apply(Stack(), *layers)


def columns(node: Node, start: int, stop: int) -> Apply:
    """Entries `start` to `stop` of the last axis."""
    return apply(Columns(start, stop), node)


def concatenate(*nodes: Node) -> Apply:
    """Nodes side by side along the last axis."""
    return apply(Concatenate(), *nodes)


def reshape(node: Node, shape: tuple[int, ...]) -> Apply:
    """The same elements in another shape."""
    return apply(Reshape(shape), node)


def coarseness(node: Node, rule: Coarsening) -> Apply:
    """k of a rule from the columns of integers [N, c], which it names by their number."""
    return apply(CoarsenessOperation(rule), node)


def shift(rows: Node, k: Node, *, exponent: int = 0) -> Apply:
    """Row i of `rows` [N, ...] times 2^(k[i] + exponent)."""
    return apply(Shift(exponent), rows, k)


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, inputs before what uses them."""
    for item in node.inputs:
        yield from walk(item)
    yield node


def leaves(node: Node) -> list[Coded]:
    """The coded sections below a node, in the order of their use."""
    return [item for item in walk(node) if isinstance(item, Coded)]


class GraphParser:
    """Nodes from JSON, with a bound on how many one header holds."""

    def __init__(self, sections: set[str]) -> None:
        self.sections = sections
        self.count = 0

    def parse(self, value: Any) -> Node:
        """The node in `value`, a JSON value of bounded depth.

        Raises:
            HeaderError: Malformed, too many nodes, or a section that is not there.
        """
        self.count += 1
        if self.count > MAX_NODES:
            raise HeaderError(f"the codec graphs exceed {MAX_NODES} nodes.")
        if not isinstance(value, dict):
            raise HeaderError(f"a node must be an object, got {value!r:.60}.")
        return self._leaf(value) if "codec" in value else self._inner(value)

    def _leaf(self, value: dict[str, Any]) -> Coded:
        if value.keys() - {"inputs"} != _LEAF_FIELDS:
            raise HeaderError(
                f"a coded section has the fields {sorted(_LEAF_FIELDS)}, got {sorted(value)!r:.90}."
            )
        codec, section = value["codec"], value["section"]
        if not isinstance(codec, str) or not isinstance(section, str):
            raise HeaderError("`codec` and `section` must be strings.")
        if section not in self.sections:
            raise HeaderError(f"an array is made of section {section!r:.60}, which is not there.")
        kind = ArrayType.from_json(value["dtype"], value["shape"])
        return Coded(section, codec, kind, self._inputs(value))

    def _inner(self, value: dict[str, Any]) -> Apply:
        name = value.get("op")
        kind = OPERATIONS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise HeaderError(f"`op` must be one of {', '.join(OPERATIONS)}; got {name!r:.60}.")
        expected = {"op", *kind.fields} | ({"inputs"} if kind.num_inputs[1] else set())
        if value.keys() != expected:
            raise HeaderError(
                f"`{name}` has the fields {sorted(expected)}, got {sorted(value)!r:.90}."
            )
        return apply(kind.from_json(value), *self._inputs(value))

    def _inputs(self, value: dict[str, Any]) -> tuple[Node, ...]:
        inputs = value.get("inputs", [])
        if not isinstance(inputs, list):
            raise HeaderError(f"`inputs` must be a list, got {inputs!r:.60}.")
        return tuple(map(self.parse, inputs))
