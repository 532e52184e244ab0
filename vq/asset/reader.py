"""Opening asset files: nothing is decoded before everything that the file claims was checked."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from ..contract import Codec, CodecError
from .array_type import ArrayType, extent
from .codecs import DependentCodec, find_codec
from .container import HEADER, Container
from .errors import HeaderError
from .graph import Apply, Coded, Node, leaves, walk
from .header import Header

BASE_BYTES = 64 << 20
BYTES_PER_FILE_BYTE = 1024
"""By default arrays may take `BASE_BYTES` plus this many bytes per byte of the file; all nodes of
quantised splats together take about 70."""


@dataclass(frozen=True)
class ArrayInfo:
    """What a file says of one array; nothing was decoded."""

    name: str
    """Its name."""
    type: ArrayType
    """Element type and shape."""
    graph: str
    """How it is decoded, for example `gather(rans[codebook], rans[indices])`."""
    sections: tuple[str, ...]
    """The sections it needs."""
    num_bytes: int
    """Bytes of those sections; arrays that share a section count it each."""


class Asset:
    """An open asset file; a context manager."""

    def __init__(self, container: Container, *, max_bytes: int | None) -> None:
        self._container = container
        default = BASE_BYTES + BYTES_PER_FILE_BYTE * container.held_bytes
        self.max_bytes = default if max_bytes is None else max_bytes
        """Most bytes that the nodes of the codec graph may take in one call of `arrays`."""

    def __enter__(self) -> Asset:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    @property
    def header(self) -> Header:
        """What the file says of itself."""
        return self._container.header

    @property
    def num_bytes(self) -> int:
        """Length of the whole file, even where only a prefix is there."""
        return self._container.num_bytes

    @property
    def sections(self) -> Mapping[str, int]:
        """Bytes of each section, in file order."""
        return self._container.sections

    @property
    def sizes(self) -> Mapping[str, int]:
        """`sections` and the header with all gaps; they add up to the file."""
        return self._container.sizes

    @property
    def missing(self) -> tuple[str, ...]:
        """Sections behind the end of a prefix; empty unless opened with `allow_prefix`."""
        return self._container.missing

    def read(self, name: str) -> bytes:
        """The bytes of one section, checked; see `Container.read`."""
        return self._container.read(name)

    def verify(self) -> None:
        """Read every section that is there; a damaged one raises `AssetError`."""
        for name in self.sections:
            if name not in self.missing:
                self.read(name)

    def available(self, name: str) -> bool:
        """Whether `array(name)` can be decoded, if only from the leading stages of its sums."""
        return self._is_available(self.header.arrays[name])

    def array(self, name: str) -> NDArray[Any]:
        """One decoded array; see `arrays`."""
        return self.arrays([name])[name]

    def arrays(self, names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
        """Decoded arrays, all of them by default; a section that several use is decoded once.

        Of a file opened with `allow_prefix`, sums and stacks leave out the inputs that are missing.

        Raises:
            KeyError: The file has no such array.
            AssetError: A section is missing or damaged, a codec is not installed or refuses its
                bytes, or the nodes would take more than `max_bytes`.
        """
        chosen = list(self.header.arrays) if names is None else list(names)
        for name in chosen:
            if name not in self.header.arrays:
                known = list(self.header.arrays)
                raise KeyError(f"{self._container.name} has no array `{name}`; it has {known}.")
        self._check_size([self.header.arrays[name] for name in chosen])
        decoded: dict[str, NDArray[Any]] = {}
        return {name: self._evaluate(self.header.arrays[name], decoded) for name in chosen}

    def describe(self) -> tuple[ArrayInfo, ...]:
        """What the header says of every array."""
        found = []
        for name, node in self.header.arrays.items():
            needed = tuple(dict.fromkeys(leaf.section for leaf in leaves(node)))
            size = sum(self.sections[section] for section in needed)
            found.append(ArrayInfo(name, node.type, str(node), needed, size))
        return tuple(found)

    def _check_size(self, nodes: list[Node]) -> None:
        """Refuse what would not fit the bound, before anything is decoded."""
        every = [item for node in nodes for item in walk(node)]
        coded = {item.section: item.type for item in every if isinstance(item, Coded)}
        total = sum(kind.num_bytes for kind in coded.values())
        total += sum(item.type.num_bytes for item in every if not isinstance(item, Coded))
        if total > self.max_bytes:
            self._container.fail(
                HEADER,
                f"decoding takes {total} bytes and the bound is {self.max_bytes}; pass a larger "
                "`max_bytes` if you trust the file.",
            )

    def _is_available(self, node: Node, outermost: bool = True) -> bool:
        if isinstance(node, Coded):
            inside = all(self._is_available(item, False) for item in node.inputs)
            return node.section not in self.missing and inside
        needed = node.inputs[:1] if _may_be_partial(node, outermost) else node.inputs
        return all(self._is_available(item, False) for item in needed)

    def _evaluate(
        self, node: Node, decoded: dict[str, NDArray[Any]], outermost: bool = True
    ) -> NDArray[Any]:
        if isinstance(node, Coded):
            if node.section not in decoded:
                inputs = [self._evaluate(item, decoded, False) for item in node.inputs]
                decoded[node.section] = self._decode(node, inputs)
            return decoded[node.section]
        inputs = node.inputs
        if self.missing and _may_be_partial(node, outermost):
            there = [self._is_available(stage, False) for stage in inputs]
            inputs = inputs[: max(1, [*there, False].index(False))]
        values = [self._evaluate(item, decoded, False) for item in inputs]
        try:
            return node.operation.apply(values)
        except HeaderError as error:
            section = leaves(node)[-1].section if leaves(node) else HEADER
            self._container.fail(section, str(error))

    def _decode(self, leaf: Coded, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        data = self.read(leaf.section)
        codec = self._codec(leaf)
        if (expected := getattr(codec, "num_inputs", 0)) != len(inputs):
            self._container.fail(
                leaf.section, f"codec `{leaf.codec}` takes {expected} inputs, got {len(inputs)}."
            )
        try:
            array = codec.decode(data, *inputs, max_items=extent(leaf.type.shape))
        except CodecError as error:
            message = f"codec `{leaf.codec}`: {error}"
            self._container.fail(leaf.section, message, inside=error.offset)
        found = ArrayType.of(array)
        if found != leaf.type:
            self._container.fail(leaf.section, f"it holds {found}, the header says {leaf.type}.")
        return array

    def _codec(self, leaf: Coded) -> Codec | DependentCodec:
        try:
            return find_codec(leaf.codec)
        except ValueError as error:
            self._container.fail(leaf.section, str(error))


def _may_be_partial(node: Apply, outermost: bool) -> bool:
    """Whether the node may leave out trailing inputs that a prefix lacks."""
    where = node.operation.progressive
    return where == "anywhere" or (where == "outermost" and outermost)


def open_asset(
    source: str | Path | io.BufferedIOBase | bytes,
    *,
    allow_prefix: bool = False,
    max_bytes: int | None = None,
) -> Asset:
    """Open an asset file and check everything in front of its sections.

    Args:
        source: A path, a seekable binary file (which the asset then owns), or the file's bytes.
        allow_prefix: Accept a file that was cut off: `missing` names the sections it lacks.
        max_bytes: Most bytes that decoding may take in one call, `BASE_BYTES` +
            `BYTES_PER_FILE_BYTE` per byte of the file by default.

    Raises:
        FileNotFoundError: No such file.
        AssetError: No asset file, an unknown version, or a damaged header; sections are checked
            when they are read.
    """
    if isinstance(source, bytes):
        file, name = io.BytesIO(source), "asset"
    elif isinstance(source, str | Path):
        file, name = Path(source).open("rb"), str(source)
    else:
        file, name = source, str(getattr(source, "name", "asset"))
    try:
        return Asset(Container(file, name, allow_prefix=allow_prefix), max_bytes=max_bytes)
    except BaseException:
        file.close()
        raise
